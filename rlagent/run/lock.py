"""One process at a time in a folder: the run's driver, the launcher of a sweep, or, of a run.dir,
the launcher that gives out what is free. The lock of a process that is killed vanishes with it."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import IO

IN_USE = "is in use by a running run"
"""What a run says of its folder that another process holds; a sweep knows it by that."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[IO[str] | None]:
    """Hold an existing folder for this process; None when another one does."""
    with _opened(folder / ".lock") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        yield file


def is_locked(folder: Path) -> bool:
    """Whether a process holds a folder now, whatever else is known of that process."""
    try:
        file = (folder / ".lock").open("r")
    except (FileNotFoundError, PermissionError):
        # Another person's that may not even be asked: who wants to hold it is told so.
        return False
    with file:
        try:
            # Shared: two who only ask are not in each other's way.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _opened(path: Path) -> IO[str]:
    try:
        return path.open("w")
    except PermissionError:
        # Another person's, in a run.dir that several write to: it can be locked all the same.
        return path.open("r")
