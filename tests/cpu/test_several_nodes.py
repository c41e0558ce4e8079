"""The same command on a Ray of several nodes, here all on one machine, with pretended GPUs."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import runs

from rlagent.config.cluster import with_cluster
from rlagent.config.schema import HardwareConfig
from rlagent.machine.resources import GPU, Machine

# With `hardware.ray=auto` runs of other tests would join the cluster.
pytestmark = [pytest.mark.slow, pytest.mark.alone]

# In a process of its own, since a process that has used Ray caches the cluster's token.
CLUSTER = """
import os, sys
os.environ["RAY_raylet_start_wait_time_s"] = "120"
from ray.cluster_utils import Cluster

head = {"num_cpus": 2, "num_gpus": 2, "object_store_memory": 256 << 20}
cluster = Cluster(initialize_head=True, head_node_args=head)
cluster.add_node(**head)
cluster.wait_for_nodes()
print("address", cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""

ACTORS = """
import json, sys
import ray
from ray._private.state import actors
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
print(json.dumps(sorted({a["Address"]["NodeID"] for a in actors().values()} - {""})))
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where the head of two nodes is, as after `ray start --head` and `ray start --address`."""
    command = [sys.executable, "-c", CLUSTER]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", "a" * 64)
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as cluster:
            said = (line.split() for line in cluster.stdout)
            yield next(words[1] for words in said if words[:1] == ["address"])
            cluster.communicate()


def test_the_nodes_of_a_running_cluster_are_counted(address: str) -> None:
    machine = Machine((GPU("NVIDIA H100 80GB HBM3", 80.0),) * 2, 2, 16)
    assert with_cluster(machine, HardwareConfig(ray=address)).nodes == 2
    assert with_cluster(machine, HardwareConfig(ray=address, engine="embedded")) == machine
    assert with_cluster(machine, HardwareConfig(ray=address, nodes=1)) == machine


def test_the_command_trains_on_several_nodes(address: str, tmp_path: Path) -> None:
    run = runs.run(tmp_path, f"hardware.ray={address}", "algorithm.total_steps=2")
    assert run.returncode == 0, run.output
    assert run.status["steps_trained"] == 2
    assert f"joined the cluster at {address}" in run.output
    done = subprocess.run(
        [sys.executable, "-c", ACTORS, address], capture_output=True, text=True, check=True
    )
    assert done.stdout.count('"') == 2 * 2, "the actors were on two nodes"


def test_a_cluster_that_asks_for_another_token_is_named_with_the_remedy(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    run = runs.run(tmp_path, f"hardware.ray={address}", "algorithm.total_steps=1")
    assert run.returncode == 1
    assert f"the Ray at {address} could not be joined: it asks for another token" in run.output
    assert "hardware.ray=start starts one for this run" in run.output
