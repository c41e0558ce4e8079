"""Changes to Ray where it starts on this machine: what listens, what signals reach it."""

import contextlib
import functools
import os
import signal
import threading
import traceback
from collections.abc import Iterator
from typing import Any

from rlagent.upstream.patch import Relies, patch

LIBRARY = "ray"
VERSIONS = ">=2.60,<3"
SOURCE = "https://github.com/ray-project/ray/blob/ray-2.60.0/python/ray"

NOT_UP = "The current node timed out during startup"
"""How Ray says that a node was not up in time, in an exception without a type of its own."""


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/_private/services.py#L815",
    "Ray binds to the address that it is given, also where that is 127.0.0.1",
    [
        Relies("ray._private.ray_constants:ENABLE_RAY_CLUSTERS_ENV_VAR"),
        Relies("ray._private.ray_constants:ENABLE_RAY_CLUSTER", None, "CLUSTERS_ENV_VAR"),
        Relies(
            "ray._private.services:get_node_ip_address",
            "address",
            "not ray_constants.ENABLE_RAY_CLUSTER",
        ),
        Relies("ray._private.worker", None, '"_node_ip_address"'),
    ],
)
def stay_on_loopback() -> None:
    """Have a Ray that is started here listen on 127.0.0.1 only.

    On Linux Ray replaces a loopback address by the node's own, and listens on all interfaces,
    unless this switch, which it documents for laptops only, is off. Ray reads it when it is
    imported, its workers when they start.
    """
    from ray._private import ray_constants

    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"
    ray_constants.ENABLE_RAY_CLUSTER = False


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/_private/services.py#L1071",
    "Ray can start its processes in a process group of their own",
    [
        Relies("ray._private.services:ConsolePopen"),
        Relies("ray._private.services:start_ray_process", None, "ConsolePopen("),
    ],
)
@contextlib.contextmanager
def groups_of_their_own() -> Iterator[None]:
    """Within the block, have Ray's processes started outside of this one's process group.

    `timeout` and others send SIGTERM to a whole group. It asks the driver to stop, for which Ray
    has to live on; Ray itself keeps no more than Ctrl+C from its processes. They still end with
    the driver, however it ends: the kernel signals them (PR_SET_PDEATHSIG).
    """
    from ray._private import services

    started = services.ConsolePopen
    services.ConsolePopen = functools.partial(started, process_group=0)
    try:
        yield
    finally:
        services.ConsolePopen = started


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/_private/worker.py#L1679",
    "Ray leaves SIGTERM to a driver that has a handler for it",
    [
        Relies("ray._private.utils:set_sigterm_handler", "sigterm_handler"),
        Relies("ray._private.worker", None, "utils.set_sigterm_handler("),
        Relies("ray._private.node:Node", None, "utils.set_sigterm_handler("),
    ],
)
@contextlib.contextmanager
def keeping_sigterm() -> Iterator[None]:
    """Keep SIGTERM with the main thread's own handler while Ray starts, and when it has ended.

    Ray's Python part would put handlers in its place that end the process there and then. Its C++
    part puts one in place when this process is connected, a few ms before Ray is up, and leaves
    none when it is disconnected, so that SIGTERM kills. Python knows of neither: its own handler is
    put back when the block ends.
    """
    from ray._private import utils

    ours, theirs = signal.getsignal(signal.SIGTERM), utils.set_sigterm_handler
    utils.set_sigterm_handler = lambda handler: None
    try:
        yield
    finally:
        utils.set_sigterm_handler = theirs
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, ours)


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/_private/worker.py#L1927",
    "Ray offers the processes that `ray.init` has started",
    [
        Relies("ray._private.worker", None, "\n_global_node = "),
        Relies("ray._private.node:Node.all_processes"),
    ],
)
def started_node() -> Any:
    """The node of the Ray that this process has started: its `all_processes`, by kind."""
    from ray._private.worker import _global_node

    return _global_node


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/_private/node.py#L441",
    "Ray ends the processes of a node that was not up in time, and says so by a type of error",
    [
        Relies("ray._private.node:Node.__init__", None, NOT_UP),
        Relies("ray._private.node:Node.get_logs_dir_path", "self"),
    ],
)
def node_not_up(error: Exception) -> Any:
    """The node that was not up in time, by what `ray.init` raised; None: that was another error.

    Ray itself forgets it, and its processes would go on beside those of the next start.
    """
    from ray._private.node import Node

    if NOT_UP not in str(error):
        return None
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    selves = (frame.f_locals.get("self") for frame in frames)
    return next(each for each in selves if isinstance(each, Node))


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/_private/node.py#L2033",
    "Ray's processes end what they have started when they are killed",
    [
        Relies("ray._private.node:Node.all_processes"),
        Relies(
            "ray._private.node:Node.kill_all_processes", "self, check_alive, allow_graceful, wait"
        ),
    ],
)
def end_node(node: Any) -> None:
    """End the processes of a node, and what they have started."""
    import psutil

    started = []
    for own in (info for each in node.all_processes.values() for info in each):
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(own.process.pid)
            # One that still starts others would do so after the look at what it has started.
            process.suspend()
            started += process.children(recursive=True)
    # A suspended process can only be killed.
    node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
    for process in started:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(started, timeout=10)


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/_private/async_compat.py#L19",
    "Ray documents which event loop its actors have",
    [Relies("ray._private.async_compat", None, 'env_bool("RAY_USE_UVLOOP"')],
)
def asyncio_loops() -> dict[str, str]:
    """Environment in which Ray gives an actor asyncio's own event loop.

    Ray takes uvloop where it is installed, as vLLM has it. Its callbacks do not pass through
    asyncio, where rollouts are kept apart.
    """
    return {"RAY_USE_UVLOOP": "0"}
