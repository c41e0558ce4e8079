"""Environments in processes of their own: started once, used by one rollout after the other.

A process that hangs, dies, raises or answers what is no step is ended with all that it has started,
and another one takes its place for the next rollout. worker.py is what runs in it.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rlagent.environments.protocol import (
    MOST_CHARACTERS,
    EnvironmentDiedError,
    EnvironmentFailedError,
    EnvironmentGarbageError,
    EnvironmentRaisedError,
    Step,
)
from rlagent.environments.reference import name_of, reference_of
from rlagent.environments.thread import too_late
from rlagent.environments.worker import GRACE, LENGTH

MOST_IDLE = 64
"""Processes that are kept for later rollouts, of all kinds: each task may have one of its own."""

_idle: "list[InProcess]" = []

# Starting one forks this process and waits for the copy; ending one waits for its end.
_starter = ThreadPoolExecutor(4, thread_name_prefix="environments")


class InProcess:
    """One environment and its process.

    Args:
        kind: Processes of one kind stand for each other.
        name: What errors call it.
    """

    def __init__(self, kind: str, name: str) -> None:
        self.kind = kind
        self.name = name
        self._ended = False
        ours, theirs = socket.socketpair()
        with theirs:
            # With the environment of this process, not that of one of its rollouts.
            self._child = subprocess.Popen(
                [sys.executable, "-c", "from rlagent.environments.worker import main; main()"],
                stdin=theirs.fileno(),
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                start_new_session=True,
            )
        ours.setblocking(False)
        self._link = ours

    @property
    def pid(self) -> int:
        """Of its process, which leads a group of its own."""
        return self._child.pid

    def is_well(self) -> bool:
        """Whether it can be asked again."""
        return not self._ended and self._child.poll() is None

    async def call(self, method: str, arguments: Mapping[str, Any], seconds: float) -> Any:
        """Call a method of the environment; the step that it came to."""
        answer = await self.ask({"method": method, "arguments": dict(arguments)}, seconds)
        return Step(*answer["step"])

    async def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """The answer to one request."""
        what = f"{request['method']}()"
        loop = asyncio.get_running_loop()
        text = json.dumps({**request, "seconds": seconds}).encode()
        try:
            async with asyncio.timeout(seconds):
                await loop.sock_sendall(self._link, LENGTH.pack(len(text)) + text)
                (length,) = LENGTH.unpack(await self._receive(LENGTH.size))
                if length > 8 * MOST_CHARACTERS:
                    raise EnvironmentGarbageError(f"{self.name}.{what} answered {length} bytes")
                answer = json.loads(await self._receive(length))
        except TimeoutError:
            self.kill()
            raise too_late(self.name, what, seconds) from None
        except OSError:
            how = await loop.run_in_executor(_starter, self._how)
            self.kill()
            raise EnvironmentDiedError(f"{self.name} died in {what}: {how}") from None
        except BaseException:
            self.kill()
            raise
        if "garbage" in answer:
            self.kill()
            raise EnvironmentGarbageError(f"{self.name}.{what} {answer['garbage']}")
        if "raised" in answer:
            self.kill()
            raise EnvironmentRaisedError(f"{self.name}.{what} raised {answer['raised']}")
        return answer

    async def _receive(self, length: int) -> bytes:
        loop, parts = asyncio.get_running_loop(), bytearray()
        while len(parts) < length:
            found = await loop.sock_recv(self._link, length - len(parts))
            if not found:
                raise ConnectionResetError
            parts += found
        return bytes(parts)

    def _how(self) -> str:
        """How it ended, of one that does not answer any more."""
        try:
            status = self._child.wait(GRACE)
        except subprocess.TimeoutExpired:
            return "it closed its connection"
        return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"

    def kill(self) -> None:
        """End it at once, and what it has started."""
        if not self._ended:
            self._ended = True
            self._child.poll()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            _starter.submit(self._reap)

    def _reap(self) -> None:
        # A disk that does not answer keeps it: subprocess reaps it later.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(GRACE)
        self._link.close()

    async def give_back(self, seconds: float) -> None:
        """Keep it for the next rollout; where there are enough, close the one idle for longest."""
        if not self.is_well():
            self.kill()
            return
        _idle.append(self)
        if len(_idle) > MOST_IDLE:
            # This rollout has not used it: how it ends is no news.
            with contextlib.suppress(EnvironmentFailedError):
                await _idle.pop(0).close(min(seconds, GRACE))

    async def close(self, seconds: float) -> None:
        """Have the environment closed, and end its process."""
        try:
            await self.ask({"method": "close"}, seconds)
        finally:
            self.kill()


async def leased(
    make: str | Callable[..., Any], args: Mapping[str, Any], seconds: float
) -> InProcess:
    """An environment in a process: one that is idle, else a new one.

    Raises:
        EnvironmentFailedError: It cannot be made.
        TypeError: An argument is no JSON value.
        ValueError: No other process can import it.
    """
    reference = reference_of(make)
    kind = json.dumps([reference, args, os.getcwd()], sort_keys=True)
    for one in [one for one in reversed(_idle) if one.kind == kind]:
        _idle.remove(one)
        if one.is_well():
            return one
        one.kill()
    loop = asyncio.get_running_loop()
    starting = loop.run_in_executor(_starter, InProcess, kind, name_of(make))
    try:
        one = await asyncio.shield(starting)
    except asyncio.CancelledError:
        starting.add_done_callback(_unwanted)
        raise
    await one.ask({"method": "make", "make": reference, "arguments": dict(args)}, seconds)
    return one


def _unwanted(starting: "asyncio.Future[InProcess]") -> None:
    if not starting.cancelled() and starting.exception() is None:
        starting.result().kill()


async def close_idle() -> None:
    """Close the environments that no rollout uses; a process that ends need not."""
    while _idle:
        await _idle.pop().close(GRACE)
