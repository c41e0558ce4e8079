"""Whether a recorded process is still the same one: process ids are reused, start times are not.

Which signals ask for a stop is said here too; sending them and waiting are left to the callers.
"""

import ctypes
import os
import signal
from collections.abc import Callable
from pathlib import Path


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when there is no such process.

    A zombie counts as gone: it has ended and only waits for its parent to notice. psutil's creation
    time is no substitute: it adds the time of boot, which moves when the clock is set.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command name stands in parentheses and may itself hold spaces and parentheses.
    fields = text[text.rindex(")") + 2 :].split()
    if fields[0] in ("Z", "X"):
        return None
    return int(fields[19])


def is_same(pid: int, recorded_ticks: int | None) -> bool:
    """Whether `pid` lives and, where a start time was recorded, started at that time."""
    now = start_ticks(pid)
    return now is not None and (recorded_ticks is None or now == recorded_ticks)


def stop_signals() -> tuple[int, ...]:
    """The signals that ask this process to save and stop: Ctrl+C, SIGTERM, and a terminal's end.

    Not the last where it is ignored, as under nohup.
    """
    asked = (signal.SIGINT, signal.SIGTERM)
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return asked if ignored else (*asked, signal.SIGHUP)


def end_on_sigterm() -> None:
    """Have SIGTERM end this process at once, whichever of its threads calls this.

    An actor of Ray with coroutines would, at SIGTERM, take no more calls and wait for those under
    way to end: for good, where they wait for further calls. Python's own `signal` asks for the main
    thread, in which such an actor runs no code.
    """
    ctypes.CDLL(None).signal(signal.SIGTERM, 0)


def open_recorded(pid: int | None, alive: Callable[[], bool]) -> int | None:
    """Return a descriptor of a recorded process for the caller to close; None when it is gone.

    Checked before it is opened, since the number of one that is gone may be that of a thread by
    now, which cannot be opened; and after, so that the one checked is the one that is opened.

    Args:
        pid: The recorded number; None: none was recorded.
        alive: Whether the process that was recorded still runs.
    """
    if not pid or not alive():
        return None
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    if alive():
        return descriptor
    os.close(descriptor)
    return None
