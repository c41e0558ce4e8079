"""Reads the rows that were appended to a JSON-lines file since the last look, and no row twice.

Driver and mirrors follow metrics.jsonl with it; when to look is left to them.
"""

import json
from pathlib import Path
from typing import Any


class Tail:
    """Follows one growing file. A line without its newline yet waits for the next look."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        """Start at a byte offset, which must be the beginning of a line."""
        self.path = path
        self.offset = offset

    def new_rows(self, until: int | None = None) -> list[dict[str, Any]]:
        """Rows appended since the last call, in order; lines that are not JSON are passed over.

        Args:
            until: Stop at this byte offset; None: at the end.
        """
        if not self.path.is_file():
            return []
        with self.path.open("rb") as file:
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
