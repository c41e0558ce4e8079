"""One process at a time in a folder: the run's driver, or the launcher of a sweep."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[IO[str] | None]:
    """Hold an existing folder for this process; None when another one does."""
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        yield file
