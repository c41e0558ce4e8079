"""Remembers what was made from files until one of them changes.

Pages are asked for again and again, most files of a folder never change any more. Nothing is
written.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

MOST = 4096
"""Values that are remembered; those not asked for longest are dropped."""


class Memory:
    """Values by key, each with the stamps of the files that it was made from; thread-safe."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._known: OrderedDict[Hashable, tuple[Any, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def get(
        self,
        key: Hashable,
        files: Sequence[Path],
        make: Callable[[], T],
        is_whole: Callable[[], bool] = lambda: True,
    ) -> T:
        """What `make` returned for the key when the files were as they are now.

        Args:
            key: Of the value; also says all that it depends on beside the files.
            files: What it is made from; they may be missing. A folder counts as changed when a
                file of it comes or goes.
            make: Makes it; what it raises is raised and not remembered.
            is_whole: Whether what was made is to be remembered.
        """
        # Before the files are read: a change meanwhile is then seen by the next look.
        stamps = tuple(map(stamp, files))
        with self._lock:
            found = self._known.get(key)
            if found is not None and found[0] == stamps:
                self._known.move_to_end(key)
                return found[1]
        value = make()
        if not is_whole():
            return value
        with self._lock:
            self._known[key] = stamps, value
            self._known.move_to_end(key)
            while len(self._known) > self._most:
                self._known.popitem(last=False)
        return value


def stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes with a file: when it was written (ns), its size, and which file it is."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
