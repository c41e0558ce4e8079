"""A server of OpenEnv that a run starts itself: one per process that runs agent code, on loopback,
behind a path that is a secret, gone when that process is.
"""

import asyncio
import json
import os
import secrets
import select
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from rlagent.environments.protocol import EnvironmentDiedError

_starter = ThreadPoolExecutor(1, thread_name_prefix="environment server")
_servers: "dict[str, tuple[subprocess.Popen[bytes], str]]" = {}


async def served(app: str, seconds: float = 120.0) -> str:
    """The URL of a server, started by the first to ask, and again where it has ended.

    Args:
        app: `module:function` that returns a FastAPI application of OpenEnv.
        seconds: That it may take to start.

    Raises:
        EnvironmentDiedError: It does not start.
    """
    loop = asyncio.get_running_loop()
    # One thread: who asks meanwhile gets the same.
    return await loop.run_in_executor(_starter, _started, app, seconds)


def end_servers() -> None:
    """End them all; a process that ends need not."""
    while _servers:
        _, (process, _) = _servers.popitem()
        process.kill()
        process.communicate()


def _started(app: str, seconds: float) -> str:
    if app in _servers and _servers[app][0].poll() is None:
        return _servers[app][1]
    process = subprocess.Popen(
        [sys.executable, "-c", "from rlagent.environments.served import main; main()", app],
        # Its end is that of this process: it reads until then.
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    secret = secrets.token_urlsafe(24)
    process.stdin.write(f"{secret}\n".encode())
    process.stdin.flush()
    if not select.select([process.stdout], [], [], seconds)[0]:
        # The next one to ask must not find this thread waiting for it.
        process.kill()
        process.communicate()
        raise EnvironmentDiedError(
            f"the environment server {app} did not start within {seconds:g} s"
        )
    said = process.stdout.readline()
    if not said:
        raise EnvironmentDiedError(
            f"the environment server {app} did not start: exit status {process.wait()}; its words "
            "are in the run's logs"
        )
    _servers[app] = process, f"http://127.0.0.1:{json.loads(said)['port']}/{secret}"
    return _servers[app][1]


def main() -> None:
    """Serve; the process that started this one says the secret, and holds its standard input."""
    secret = sys.stdin.readline().strip()
    # Only this process may write to what it is read by.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import uvicorn
    from fastapi import FastAPI

    from rlagent.config.functions import import_function

    outer = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    outer.mount(f"/{secret}", import_function(sys.argv[1])())
    link = socket.socket()
    link.bind(("127.0.0.1", 0))
    link.listen(128)
    # A session whose client is gone is an error to it, and each ends so; what a step raises is
    # answered.
    server = uvicorn.Server(uvicorn.Config(outer, log_level="critical", access_log=False))

    def until_nobody_asks() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=until_nobody_asks, daemon=True).start()
    # Who connects before it serves waits in the queue of the socket.
    print(json.dumps({"port": link.getsockname()[1]}), file=answers, flush=True)
    asyncio.run(server.serve(sockets=[link]))
