"""Changes to Ray where it starts on this machine: what starts, what listens, what ends it."""

import contextlib
import functools
import os
import shlex
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
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


DASHBOARD_AGENT = "--dashboard_agent_command="
ENVIRONMENT_AGENT = "--runtime_env_agent_command="
"""Before what the raylet runs as its agents; it ends with them, and refuses to have none."""

PRESTARTED = "--num_prestart_python_workers="
"""Before how many workers it starts for the first driver, before that asks for any."""

STAND_IN = Path(__file__).with_name("ray_agent.py")
"""Runs by its path, so that it imports nothing else."""


def bare_raylet(command: Sequence[str], workers: int) -> list[str]:
    """The command that starts a raylet, with so many workers and stand-ins for its agents."""
    given = dict(part.split("=", 1) for part in command if part.startswith("--") and "=" in part)
    agent = [sys.executable, "-I", "-S", str(STAND_IN), given["--session_dir"], given["--node_id"]]
    # Both ways as Ray and its raylet do it.
    later = shlex.split(given[ENVIRONMENT_AGENT[:-1]])
    ours = {
        DASHBOARD_AGENT: subprocess.list2cmdline(agent),
        ENVIRONMENT_AGENT: subprocess.list2cmdline([*agent, given["--node_ip_address"], *later]),
        PRESTARTED: str(workers),
    }
    return [next((k + v for k, v in ours.items() if part.startswith(k)), part) for part in command]


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/_private/node.py#L1642",
    "`ray.init` can start Ray without dashboard, agent, log monitor and autoscaler, and takes the "
    "number of workers to start with",
    [
        Relies("ray._private.parameter:RayParams", None, "no_monitor: "),
        Relies("ray._private.parameter:RayParams", None, "include_log_monitor: "),
        Relies("ray._private.worker", None, "ray_params = ray._private.parameter.RayParams("),
        Relies("ray._private.node:Node.start_head_processes", None, "self.start_api_server("),
        Relies(
            "ray._private.node:Node.start_api_server",
            "self, *, include_dashboard, raise_on_failure",
        ),
        Relies("ray._private.node:Node.__init__", None, "self._webui_url = None"),
        Relies("ray._private.services:start_raylet", None, DASHBOARD_AGENT),
        Relies("ray._private.services:start_raylet", None, ENVIRONMENT_AGENT),
        Relies("ray._private.services:start_raylet", None, PRESTARTED),
        Relies("ray._private.services:start_raylet", None, "process_info = start_ray_process("),
        Relies("ray._private.services:start_raylet", None, 'f"--session_dir={session_dir}"'),
        Relies("ray._private.services:start_raylet", None, 'f"--node_id={node_id}"'),
        Relies(
            "ray._private.services:start_raylet", None, 'f"--node_ip_address={node_ip_address}"'
        ),
        Relies("ray._private.runtime_env.agent.main", None, "sock.bind(sockaddr)"),
        Relies("ray.dashboard.agent", None, "self.listen_port if self.http_server and"),
        Relies("ray.dashboard.agent", None, "METRICS_AGENT_PORT_NAME,\n                -1"),
        Relies("ray.dashboard.agent", None, "METRICS_EXPORT_PORT_NAME,\n                -1"),
    ],
)
@contextlib.contextmanager
def bare(workers: int) -> Iterator[None]:
    """Within the block, have Ray start with what runs actors, and nothing else.

    The dashboard, its agent, the log monitor and the autoscaler's monitor are Python processes that
    take 9 s of processor time, and `ray.init` waits for two of them one after the other. A run asks
    none of them for anything. The stand-in for the dashboard's agent says that it listens
    nowhere, as the agent of a Ray without a dashboard does. The raylet also waits for the agent for
    runtime environments; that one starts when it is first asked.

    Args:
        workers: How many start before they are asked for. Ray itself starts one per core.
    """
    from ray._private import parameter, services
    from ray._private.node import Node

    params, start, api = parameter.RayParams, services.start_ray_process, Node.start_api_server

    def start_ray_process(command: list[str], *arguments: Any, **options: Any) -> Any:
        is_raylet = any(part.startswith(DASHBOARD_AGENT) for part in command)
        return start(bare_raylet(command, workers) if is_raylet else command, *arguments, **options)

    parameter.RayParams = functools.partial(params, no_monitor=True, include_log_monitor=False)
    services.start_ray_process = start_ray_process
    Node.start_api_server = lambda *_, **__: None
    try:
        yield
    finally:
        parameter.RayParams = params
        services.start_ray_process = start
        Node.start_api_server = api


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
    f"{SOURCE}/_private/authentication/authentication_token_setup.py#L160",
    "Ray drops the token that it has cached, and reads it again",
    [
        Relies(
            "ray._private.authentication.authentication_token_setup",
            None,
            "token_loader = AuthenticationTokenLoader.instance()",
        ),
        Relies(
            "ray._private.authentication.authentication_token_setup",
            None,
            "token_loader.reset_cache()",
        ),
    ],
)
def reread_token() -> None:
    """Have Ray use the token that is in the environment now.

    A process caches the first token that it reads. After a connection to another Ray, in a notebook
    for example, it would send that token to the next one, which refuses it.
    """
    from ray._private.authentication.authentication_token_setup import AuthenticationTokenLoader

    AuthenticationTokenLoader.instance().reset_cache()


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
