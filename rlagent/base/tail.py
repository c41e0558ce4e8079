"""Reads the rows appended to a JSON-lines file since the last look, each row once.

Driver, mirrors and sweeps follow metrics.jsonl with it; when to look is left to them.
"""

import json
import os
from pathlib import Path
from typing import Any


class Tail:
    """Follows one growing file. A line that has no newline yet waits for the next look.

    When another file has taken its place, as of a run from scratch, or when it was cut, it is
    followed from the beginning.
    """

    def __init__(self, path: Path, offset: int = 0) -> None:
        """Start at a byte offset, which must be the beginning of a line."""
        self.path = path
        self.offset = offset
        # Whether the last look found that what was read before is no longer there.
        self.restarted = False
        found = _stat(path)
        self._inode = found.st_ino if found else None

    @classmethod
    def at_end(cls, path: Path) -> "Tail":
        """Follow what is appended from now on."""
        found = _stat(path)
        return cls(path, found.st_size if found else 0)

    def new_rows(self, until: int | None = None) -> list[dict[str, Any]]:
        """Rows appended since the last call, in order; lines that are not JSON are passed over.

        Args:
            until: Stop at this byte offset; None: at the end.
        """
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            self._restart_if(self.offset > 0, None)
            return []
        with file:
            found = os.fstat(file.fileno())
            replaced = self._inode not in (None, found.st_ino)
            self._restart_if(replaced or found.st_size < self.offset, found.st_ino)
            file.seek(self.offset)
            text = file.read(-1 if until is None else max(0, until - self.offset))
        whole = text[: text.rfind(b"\n") + 1]
        self.offset += len(whole)
        rows = []
        for line in whole.splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                # A killed writer's torn line, ended by the next attempt.
                continue
            if "metrics" in row:
                row["metrics"] = {name: float(value) for name, value in row["metrics"].items()}
            rows.append(row)
        return rows

    def _restart_if(self, restarted: bool, inode: int | None) -> None:
        self.restarted, self._inode = restarted, inode
        if restarted:
            self.offset = 0


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None
