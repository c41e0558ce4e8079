"""One process at a time in a folder: the run's driver, the launcher of a sweep, or, in a run.dir,
the launcher that gives out what is free. When a process is killed, its lock is gone with it."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import IO

IN_USE = "is in use by a running run"
"""What a run says when another process holds its folder; a sweep recognises it by that."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[IO[str] | None]:
    """Hold an existing folder for this process; None when another one does."""
    with _opened(folder / ".lock") as file:
        while not (ours := _taken(file, fcntl.LOCK_EX)):
            # A lock that can be shared is held only by a process that looks, for a moment.
            if not _taken(file, fcntl.LOCK_SH):
                break
        yield file if ours else None


@contextlib.contextmanager
def waited_for(file: Path) -> Iterator[None]:
    """Wait until no other process holds a file, then hold it; a missing one is created and kept."""
    with _opened(file) as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield


def is_locked(folder: Path) -> bool:
    """Whether some process holds a folder now, known or not."""
    try:
        file = (folder / ".lock").open("r")
    except (FileNotFoundError, PermissionError):
        # Another user's: whoever wants to hold it gets the error.
        return False
    with file:
        # Shared, so that a look blocks no other look.
        return not _taken(file, fcntl.LOCK_SH)


def _taken(file: IO[str], how: int) -> bool:
    """Lock a file in this way unless others' locks forbid it; replaces the lock it had."""
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _opened(path: Path) -> IO[str]:
    try:
        # Some network file systems give a shared lock only to readers of the file, and an exclusive
        # one only to writers.
        return path.open("a+")
    except PermissionError:
        # Another person's, in a run.dir that several write to: it can be locked all the same.
        return path.open("r")
