"""Ties a trial to its launcher: when the launcher is gone, however it died, the trial ends.

The launcher holds the writing end of a pipe and never writes. A killed process closes its files,
so the end of the pipe shows what a signal could miss; nothing is left running after `kill -9`.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

VARIABLE = "RLAGENT_LEASH"
"""Environment variable with the number of the reading end."""

GRACE = 1800.0
"""Seconds after which a trial that has not ended by itself is killed. A stop has limits of its own
(session.py), of minutes for a large model; this one is for a driver that hangs."""


def hold() -> bool:
    """Follow the launcher of this process; returns at once whether it was started by one."""
    number = os.environ.pop(VARIABLE, None)
    if number is None:
        return False
    descriptor = int(number)
    # A process that a trial starts and leaves behind must not hold the pipe.
    os.set_inheritable(descriptor, False)
    threading.Thread(target=_follow, args=(descriptor, _end), name="leash", daemon=True).start()
    return True


@contextlib.contextmanager
def pipe() -> Iterator[int]:
    """The launcher's side: the reading end of a pipe whose writing end it alone holds."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(reading)
        os.close(writing)


def _follow(descriptor: int, end: Callable[[], None]) -> None:
    while os.read(descriptor, 1):
        pass
    end()


def _end() -> None:
    """End as `rlagent stop` would; by force when that takes too long."""
    by_force = threading.Timer(GRACE, os.killpg, (os.getpgid(0), signal.SIGKILL))
    by_force.daemon = True
    by_force.start()
    os.kill(os.getpid(), signal.SIGTERM)
