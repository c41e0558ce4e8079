"""Starts a confined process, hands it a program, and keeps it within its limits.

What it takes away from the process is child.py's; which system calls it leaves is calls.py's.
"""

import asyncio
import base64
import contextlib
import json
import math
import os
import selectors
import signal
import subprocess
import sys
import sysconfig
import time
import weakref
from dataclasses import dataclass
from pathlib import Path

from rlagent.tools.confined import calls

_CHILD = Path(__file__).with_name("child.py")
_MIB = 1024 * 1024
_START_SECONDS = 60.0
"""Seconds that confining may take, on a machine that does much else."""


class ConfinementError(RuntimeError):
    """This machine cannot confine a program; the message says what is missing."""


LEAST_MIB = 32
"""Memory with which any program can begin; Python alone takes half of it."""


@dataclass(frozen=True)
class Limits:
    """What a program may use: seconds by the clock, memory, files, and bytes that it prints.

    Raises:
        ValueError: Python cannot start with so little memory.
    """

    seconds: float = 5.0
    memory_mib: int = 256
    disk_mib: int = 8
    output_bytes: int = 65_536

    def __post_init__(self) -> None:
        if self.memory_mib < LEAST_MIB:
            raise ValueError(
                f"memory_mib={self.memory_mib}: Python cannot start with that; give it "
                f"{LEAST_MIB} or more"
            )


@dataclass(frozen=True)
class Outcome:
    """How a program ended."""

    # What it printed, at most Limits.output_bytes of both together; no UTF-8 is replaced.
    stdout: str
    stderr: str
    # Why it did not run to its end, in one line; empty when it did.
    failure: str = ""


def run_blocking(source: str, limits: Limits = Limits()) -> Outcome:
    """Run a Python program confined, and wait for its end.

    Raises:
        ConfinementError: It was not run, since this machine cannot confine it.
    """
    return _Started(limits).collect(source)


async def run(source: str, limits: Limits = Limits()) -> Outcome:
    """The same, for an event loop; the program is ended when this is cancelled.

    Raises:
        ConfinementError: It was not run, since this machine cannot confine it.
    """
    async with _turn():
        return await _run_in_thread(source, limits)


async def _run_in_thread(source: str, limits: Limits) -> Outcome:
    started = _Started(limits)
    work = asyncio.ensure_future(asyncio.to_thread(started.collect, source))
    try:
        # The thread goes on until the process has ended.
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        work.add_done_callback(lambda done: done.cancelled() or done.exception())
        started.stop()
        raise


def _turn() -> asyncio.Semaphore:
    """Of which each of this loop's programs takes one: no more run at once than help."""
    loop = asyncio.get_running_loop()
    if loop not in _turns:
        _turns[loop] = asyncio.Semaphore(max(4, os.cpu_count() or 1))
    return _turns[loop]


_turns: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = (
    weakref.WeakKeyDictionary()
)


def refusal() -> str:
    """Why this machine cannot confine a program, with the remedy; empty when it can."""
    try:
        outcome = run_blocking("print('confined')", Limits(seconds=_START_SECONDS))
    except ConfinementError as error:
        return str(error)
    return "" if outcome.stdout == "confined\n" else f"a confined program fails: {outcome}"


class _Started:
    """A process that waits for its program.

    It ends with the thread that has started it, hence is made in the caller's.
    """

    def __init__(self, limits: Limits) -> None:
        if sys.platform != "linux":
            raise ConfinementError("programs are confined on Linux only")
        try:
            self._filter = calls.program()
        except calls.NoFilterError as error:
            raise ConfinementError(str(error)) from error
        self._limits = limits
        self._ready, theirs = os.pipe()
        try:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-S",
                    "-s",
                    "-P",
                    "-B",
                    str(_CHILD),
                    str(theirs),
                    str(os.getpid()),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=_environment(),
                cwd="/",
                pass_fds=(theirs,),
                start_new_session=True,
            )
        except BaseException:
            os.close(self._ready)
            raise
        finally:
            os.close(theirs)

    def collect(self, source: str) -> Outcome:
        """Hand over the program, and read what it prints until it ends or leaves its limits."""
        try:
            return self._collect(source)
        finally:
            self.stop()
            self._process.wait()
            os.close(self._ready)
            for stream in (self._process.stdout, self._process.stderr):
                assert stream is not None
                stream.close()

    def stop(self) -> None:
        """Ask the process to end, which ends the program by force."""
        self._process.terminate()

    def _collect(self, source: str) -> Outcome:
        process = self._process
        assert process.stdin is not None
        asked = {
            "source": source,
            "filter": base64.b64encode(self._filter).decode(),
            "library": sysconfig.get_path("stdlib"),
            "memory": self._limits.memory_mib * _MIB,
            "disk": self._limits.disk_mib * _MIB,
            "cpu_seconds": math.ceil(self._limits.seconds) + 1,
        }
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(json.dumps(asked).encode())
        ready, texts, failure = self._read()
        if failure:
            self.stop()
        code = process.wait()
        stdout, stderr = (text.decode(errors="replace") for text in texts)
        if not ready:
            reason = stderr.strip().rpartition("\n")[2] or failure or f"exit status {code}"
            raise ConfinementError(
                f"this machine cannot confine a program ({reason}); what it needs: "
                "docs/tools-and-mcp.md"
            )
        return Outcome(stdout, stderr, failure or _failure(code, stderr))

    def _read(self) -> tuple[bool, tuple[bytes, bytes], str]:
        """Whether the program was begun, what it printed, and the limit that it left."""
        limits, process = self._limits, self._process
        assert process.stdout is not None
        assert process.stderr is not None
        texts = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
        ready, failure = False, ""
        until = time.monotonic() + _START_SECONDS
        with selectors.DefaultSelector() as open_ends:
            for descriptor in (self._ready, *texts):
                open_ends.register(descriptor, selectors.EVENT_READ)
            while open_ends.get_map() and not failure:
                found = open_ends.select(max(0.0, until - time.monotonic()))
                if not found and time.monotonic() >= until:
                    limit = limits.seconds if ready else _START_SECONDS
                    failure = f"it took longer than {limit:g} s"
                for key, _ in found:
                    data = os.read(key.fd, 65_536)
                    if not data:
                        open_ends.unregister(key.fd)
                    elif key.fd == self._ready:
                        ready, until = True, time.monotonic() + limits.seconds
                    else:
                        texts[key.fd] += data
                if sum(map(len, texts.values())) > limits.output_bytes:
                    failure = failure or f"it printed more than {limits.output_bytes} bytes"
        stdout, stderr = (bytes(text[: limits.output_bytes]) for text in texts.values())
        return ready, (stdout, stderr), failure


def _environment() -> dict[str, str]:
    """Nothing of this process's but where the loader finds Python's own libraries."""
    kept = {key: os.environ[key] for key in ("LD_LIBRARY_PATH",) if key in os.environ}
    # Sets of texts are in the same order every time.
    return {**kept, "HOME": "/tmp", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}


def _failure(code: int, stderr: str) -> str:
    """Why a program that ended by itself has failed; empty when it has not.

    >>> _failure(1, "Traceback...\\nNameError: name 'x' is not defined\\n")
    "NameError: name 'x' is not defined"
    >>> _failure(128 + 9, "")
    'ended by SIGKILL'
    """
    if code == 0:
        return ""
    if code > 128:
        with contextlib.suppress(ValueError):
            return f"ended by {signal.Signals(code - 128).name}"
    return stderr.strip().rpartition("\n")[2][:400] or f"exit status {code}"
