"""What a running Ray cluster offers, asked in a process of its own: composing imports no Ray.

Joining it for a run is rlagent.launch.ray_cluster's.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace

from rlagent.backends.registry import ENGINES, engine_named
from rlagent.base.errors import Problem, UnreachableError
from rlagent.config.schema import AUTO, HardwareConfig
from rlagent.machine.ray_head import address_to_join, no_answer
from rlagent.machine.resources import PLANNED_FOR, Machine

_SECONDS = 60.0
_ASK = """
import json, sys
import ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
nodes = [node["Resources"].get("GPU", 0) for node in ray.nodes() if node["Alive"]]
print(json.dumps(nodes))
"""


def with_cluster(machine: Machine, hardware: HardwareConfig) -> Machine:
    """Return the machine with the nodes of the Ray cluster that a run with GPUs would join.

    Nodes without a GPU do not count. Where the nodes are given, or none would be joined, nothing
    is asked; a run without GPUs uses one node. A trial neither: its sweep has asked, and says what
    machine to plan for.

    Raises:
        UnreachableError: The cluster does not answer, or does not say what nodes it has.
    """
    if os.environ.get(PLANNED_FOR):
        return machine
    on_cpu = not machine.gpus and hardware.gpus == AUTO
    if hardware.engine in ENGINES:
        on_cpu = on_cpu or not engine_named(hardware.engine).on_gpus
    if on_cpu or hardware.logical_gpus or hardware.nodes != AUTO:
        return machine
    address = address_to_join(hardware.ray)
    if address is None:
        return machine
    silent = no_answer(hardware.ray, address)
    if silent:
        raise UnreachableError([silent])
    counts = _ask(address)
    return replace(machine, cluster=True, nodes=max(1, sum(count >= 1 for count in counts)))


def _ask(address: str) -> list[float]:
    """Return the GPUs of each node."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _ASK, address],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise _unknown(address, f"no answer in {_SECONDS:.0f} s") from None
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        said = done.stderr.strip().splitlines()
        raise _unknown(address, said[-1] if said else f"exit status {done.returncode}")
    return json.loads(lines[-1])


def _unknown(address: str, why: str) -> UnreachableError:
    message = f"the Ray cluster at {address} does not say which nodes it has ({why})"
    remedy = "set hardware.nodes and hardware.gpus, or use hardware.ray=start"
    return UnreachableError([Problem("hardware.nodes", AUTO, message, remedy)])
