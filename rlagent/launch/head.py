"""Whether the Ray of a run is still alive, asked at every look of the driver.

Ray itself ends a process that lost the head a minute later, without a chance to say why: the
driver has to notice earlier. What follows is driver.py's.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import psutil

from rlagent.base.endings import EXIT_FAILED, RunError
from rlagent.machine.ray_head import answers

PROBE_EVERY = 5.0
"""Seconds between two looks at a head that this process did not start."""

GONE_AFTER = 30.0
"""Seconds without an answer after which such a head is lost; one that restarts takes less. So is
one of our own that has been stopped (SIGSTOP) for as long: calls of Ray then never return."""

LAST_RESORT = 60.0
"""Seconds that a run whose Ray is lost has to end by itself."""


class LostRayError(RunError):
    """Ray has lost its head or its node: no call of it returns any more."""


class _Process(Protocol):
    pid: int

    def poll(self) -> int | None: ...


class Head:
    """The head of the Ray that a run uses.

    Args:
        address: Where it listens, as `host:port`.
        processes: Those of a Ray that this process started, by name, such as gcs_server; empty
            for a cluster that was joined.
        now: A clock in seconds.
    """

    def __init__(
        self,
        address: str,
        processes: Mapping[str, _Process],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.address, self.processes, self._now = address, processes, now
        self._answered = self._asked = self._looked = now()
        # Seconds for which each process has been seen stopped.
        self._stopped = dict.fromkeys(processes, 0.0)

    def lost(self) -> str:
        """Why it is lost, in one line; empty while it is alive."""
        for name, process in self.processes.items():
            code = process.poll()
            if code is not None:
                return f"Ray's {name} (process {process.pid}) {_how(code)}"
        return self._frozen() if self.processes else self._silent()

    def check(self) -> None:
        """Raise LostRayError when it is lost."""
        if why := self.lost():
            raise LostRayError(_cause(why))

    def _frozen(self) -> str:
        now = self._now()
        # After a stop of this process, Ctrl+Z perhaps, the others may go on a moment later.
        since, self._looked = min(now - self._looked, PROBE_EVERY), now
        for name, process in self.processes.items():
            if not _is_stopped(process.pid):
                self._stopped[name] = 0.0
                continue
            self._stopped[name] += since
            if self._stopped[name] >= GONE_AFTER:
                return (
                    f"Ray's {name} (process {process.pid}) has been stopped (as by SIGSTOP) for "
                    f"{self._stopped[name]:.0f} s"
                )
        return ""

    def _silent(self) -> str:
        now = self._now()
        if now - self._asked >= PROBE_EVERY:
            self._asked = now
            if answers(self.address):
                self._answered = now
        # Asked since, or the clock has only jumped, as after a stop of this process.
        silent = self._asked - self._answered
        return f"Ray's head at {self.address} has not answered for {silent:.0f} s" * (
            silent >= GONE_AFTER
        )


class LastResort:
    """Within its block, ends a run that waits in a call of Ray which never returns.

    Args:
        head: Watched by a thread.
        conclude: Writes the final status, given the cause.
        leave: Ends the process without waiting for its threads.
        seconds: How long the block may go on once the head is lost.
    """

    def __init__(
        self,
        head: Head,
        conclude: Callable[[str], None],
        leave: Callable[[], None] = lambda: os._exit(EXIT_FAILED),
        seconds: float = LAST_RESORT,
    ) -> None:
        self._head, self._conclude, self._leave = head, conclude, leave
        self._seconds = seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="last resort", daemon=True)

    def __enter__(self) -> "LastResort":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.disarm()

    def disarm(self) -> None:
        """Watch no longer: a head that is ended on purpose is not lost."""
        self._over.set()

    def _watch(self) -> None:
        while not (why := self._head.lost()):
            if self._over.wait(1.0):
                return
        if self._over.wait(self._seconds):
            return
        try:
            self._conclude(_cause(why))
        finally:
            self._leave()


def _is_stopped(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
    except psutil.NoSuchProcess:
        # Ended since: the next look says how.
        return False


def _cause(why: str) -> str:
    return (
        f"{why}, and nothing can go on without it; the same command resumes from the newest "
        "checkpoint"
    )


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with status {code}"
    return f"was killed by {signal.Signals(-code).name}"


def end_marked(name: str, value: str) -> list[int]:
    """Kill this session's processes that inherited a variable; returns their ids.

    For what Ray leaves behind: processes that are stopped (SIGSTOP) or whose raylet was killed
    never learn that it has ended. Those in a session of their own, such as the mirror's, go on.
    """
    ended = []
    for process in psutil.process_iter():
        try:
            mine = process.pid != os.getpid() and os.getsid(process.pid) == os.getsid(0)
            if mine and process.environ().get(name) == value:
                process.kill()
                ended.append(process.pid)
        except (psutil.Error, ProcessLookupError, PermissionError):
            # Gone meanwhile, or another user's.
            continue
    return ended
