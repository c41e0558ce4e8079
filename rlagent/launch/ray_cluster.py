"""Starting or joining Ray: which of the two, with what, and taking it down again."""

import contextlib
import logging
import os
import secrets
import sys
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlagent.base.cause import cause_of
from rlagent.base.endings import RunError
from rlagent.base.loopback import without_proxy
from rlagent.config.schema import HardwareConfig
from rlagent.launch.head import Head, end_marked
from rlagent.machine.ray_head import address_to_join, no_answer
from rlagent.planner.layout import Layout
from rlagent.upstream import ray as ray_patches

_LOG = logging.getLogger("rlagent")

LOOPBACK = "127.0.0.1"
OBJECT_STORE_BYTES = 1 << 30
"""Largest object store of a Ray that is started here: weights and experiences of one step."""

PRELOADED = "torch,transformers"
"""What every process of a run imports at some time."""

MOST_PRELOADED = 8
"""With more cores than these they import it only when they are asked to do something."""

OUTLIVE_SECONDS = "180"
"""How long processes of Ray wait for a head that is gone, before they end themselves: longer than
the driver takes to notice and to conclude. Agents of Ray outlive a killed driver by as much."""

START_SECONDS = "60"
"""How long a node of Ray may take to be up: as long again as Ray's own 30 s, for cold files."""

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TOKENIZERS_PARALLELISM": "false",
    # Engine, trainer and agents take turns on few cores: threads that spin while they wait for
    # the next piece of work take them from the others.
    "OMP_WAIT_POLICY": "PASSIVE",
    "AGENTSCOPE_DISABLE_CONSOLE_OUTPUT": "true",
    "VLLM_NO_USAGE_STATS": "1",
    "PYTHONUNBUFFERED": "1",
}
"""Environment of the workers; a value that the user set wins."""


MARK = "RLAGENT_RAY"
"""Variable that the processes of a Ray that is started here have, with a value of that Ray alone:
by it they are found when Ray is gone."""

_TOKEN = secrets.token_hex(32)
"""The token that a Ray started here asks of everyone who talks to it; in no file.

Ray reads its token once per process, so every Ray of this process has the same one.
"""


@dataclass(frozen=True)
class Cluster:
    """The Ray that a run uses."""

    # Where its head is, as `host:port`.
    address: str
    # Whether it was started for this run, and so ends with it.
    started: bool
    # Checks whether it is still alive.
    head: Head
    # Whether this process had connected to it before, and so stays connected.
    found: bool = False
    # The value of MARK in its processes; empty where it was joined.
    mark: str = ""

    def words(self) -> str:
        """One line for people."""
        if self.started:
            return f"Ray: started on {LOOPBACK} for this run"
        return f"Ray: joined the cluster at {self.address}"


@contextlib.contextmanager
def restored_environment() -> Iterator[None]:
    """Undo what starting Ray changes in the environment: `learn()` runs in the user's process."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def gpus_to_offer(layout: Layout, on_gpus: bool) -> int:
    """GPUs that a Ray started for a run offers; a colocated one is offered to both sides."""
    if not on_gpus:
        return 0
    return 2 if layout.colocated else layout.total_gpus


def processes_at_start(layout: Layout, runners: int) -> int:
    """Processes of a run's actors, which a Ray that is started for it has ready.

    >>> processes_at_start(Layout(1, 1, 0), 1), processes_at_start(Layout(1, 1, 1), 1)
    (3, 6)
    """
    exploring = 1 + layout.engines + max(runners, layout.engines) if layout.engines else 0
    # The trainer, its queue and the synchronizer.
    return exploring + (3 if layout.trainer_gpus else 0)


def colocated_env(layout: Layout, on_gpus: bool) -> dict[str, str]:
    """Environment in which engine and trainer share one GPU.

    Each of them reserves a GPU from Ray, and on a Ray with one the second would wait for ever:
    the one GPU is listed twice.
    """
    if not on_gpus or not layout.colocated:
        return {}
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0] or "0"
    return {"CUDA_VISIBLE_DEVICES": f"{gpu},{gpu}"}


def connect(
    hardware: HardwareConfig,
    namespace: str,
    env: dict[str, str],
    gpus: int,
    cpus: int,
    ready: int = 1,
    say: Callable[[str], None] = _LOG.warning,
) -> Cluster:
    """Join or start Ray for this process.

    Args:
        hardware: Says which, see `HardwareConfig.ray`.
        namespace: Keeps the actors of this run apart from others'.
        env: Environment for the workers, beside `QUIET`.
        gpus: GPUs offered by a Ray that is started here.
        cpus: CPU cores offered likewise.
        ready: Processes for actors that it starts before it is asked for any.
        say: Called with a line before a second try at starting; if it raises, there is none.

    Raises:
        RunError: The address does not answer or refuses the token, or a Ray that is started here
            was not up in time, twice.
    """
    import ray

    mark = secrets.token_hex(8)
    workers = {
        MARK: mark,
        **{k: os.environ.get(k, v) for k, v in QUIET.items()},
        **without_proxy(os.environ),
        **env,
    }
    common: dict[str, Any] = {
        "namespace": namespace,
        "log_to_driver": False,
        "logging_level": "ERROR",
    }
    # Else Ray would end this process a minute after its head is gone: head.py notices it before.
    os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", OUTLIVE_SECONDS)
    if ray.is_initialized():
        return _joined(found=True)
    address = address_to_join(hardware.ray)
    if address:
        silent = no_answer(hardware.ray, address)
        if silent:
            raise RunError(str(silent))
        try:
            ray.init(address=address, runtime_env={"env_vars": workers}, **common)
        except ConnectionError as error:
            raise _not_joined(address, error) from error
        return _joined()
    # Workers of a Ray that starts here inherit this environment: quicker than a runtime_env.
    os.environ.update(workers)
    if cpus <= MOST_PRELOADED:
        # Meanwhile the driver checks the configuration.
        os.environ.setdefault("RAY_preload_python_modules", PRELOADED)
    ray_patches.stay_on_loopback.apply()
    # Loopback is open to every user of the machine, and who may submit a task to Ray runs code as
    # this one. Ray would ask for a token of its own, which it keeps in ~/.ray for all who can read.
    os.environ.setdefault("RAY_AUTH_TOKEN", _TOKEN)
    ray_patches.reread_token.apply()
    os.environ.setdefault("RAY_raylet_start_wait_time_s", START_SECONDS)
    options = {
        "num_cpus": cpus,
        "num_gpus": gpus,
        "include_dashboard": False,
        "object_store_memory": _object_store_bytes(),
        "_node_ip_address": LOOPBACK,
        **common,
    }
    if _not_up_in_time(options, ready):
        say("Ray was not up in time, as on a busy machine; it is started once more")
        logs = _not_up_in_time(options, ready)
        if logs:
            raise RunError(
                "Ray was not up in time, twice: run the same command again when less runs on this "
                f"machine, or see in {logs} whether one of its processes ended"
            )
    address = ray.get_runtime_context().gcs_address
    return Cluster(address, started=True, head=Head(address, _head_processes()), mark=mark)


def _joined(found: bool = False) -> Cluster:
    import ray

    address = ray.get_runtime_context().gcs_address
    return Cluster(address, started=False, head=Head(address, {}), found=found)


def _not_joined(address: str, error: ConnectionError) -> RunError:
    why = cause_of(error)
    if "InvalidAuthToken" in f"{error} {error.__cause__}":
        why = "it asks for another token than RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH give"
    remedy = "hardware.ray=start starts one for this run"
    return RunError(f"the Ray at {address} could not be joined: {why}; {remedy}")


def _head_processes() -> dict[str, Any]:
    """The processes that a Ray started here cannot do without."""
    started = ray_patches.started_node.apply().all_processes
    return {name: started[name][0].process for name in ("gcs_server", "raylet")}


def leave(cluster: Cluster) -> None:
    """Disconnect, and end a Ray that was started here with everything in it."""
    import ray

    # With its head lost, Ray would wait for what cannot answer, so its processes are ended first.
    if cluster.head.lost():
        end_lost(cluster)
    with ray_patches.keeping_sigterm.apply():
        ray.shutdown()
    if cluster.started:
        end_marked(MARK, cluster.mark)
        # The next Ray of this process has another token.
        ray_patches.reread_token.apply()


def end_lost(cluster: Cluster) -> None:
    """End the processes of a Ray that was started here and has lost its head."""
    if cluster.started:
        ray_patches.end_node.apply(ray_patches.started_node.apply())
        end_marked(MARK, cluster.mark)


def _not_up_in_time(options: dict[str, Any], ready: int) -> str:
    """Start Ray; where it is not up in time, end what has started.

    Returns:
        The folder of its logs where it was not up; else nothing.
    """
    import ray

    try:
        with ray_patches.groups_of_their_own.apply(), ray_patches.bare.apply(ready):
            ray.init(address="local", **options)
    except Exception as error:
        node = ray_patches.node_not_up.apply(error)
        if node is None:
            raise
        ray_patches.end_node.apply(node)
        return str(node.get_logs_dir_path())
    return ""


def _object_store_bytes() -> int:
    """What fits into half of the shared memory, at most OBJECT_STORE_BYTES."""
    try:
        stat = os.statvfs("/dev/shm")
    except OSError:
        return OBJECT_STORE_BYTES
    free = stat.f_bavail * stat.f_frsize
    # Ray refuses less than 75 MiB.
    return max(80 << 20, min(OBJECT_STORE_BYTES, free // 2))


def python_path() -> str:
    """What workers need to find the modules that this process found, the working directory too."""
    # The standard library and its extension modules.
    own = (sysconfig.get_path("stdlib"), sysconfig.get_config_var("DESTSHARED"))
    entries = dict.fromkeys([os.getcwd(), *(entry for entry in sys.path if entry)])
    return os.pathsep.join(
        entry
        for entry in entries
        if entry not in own
        and not entry.endswith(".zip")
        and not {"site-packages", "dist-packages"} & set(Path(entry).parts)
    )
