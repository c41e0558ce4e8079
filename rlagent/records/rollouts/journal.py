"""The rollouts of batches that are not packed: a file each, to which any process may append.

    train-000017.jsonl                      what is appended to now
    train-000017.1774857600123456789.jsonl  what was until packing began

Nothing is lost between appending and packing: whoever packs renames the file first, and whoever
then finds that his row went into a file of another name writes it again.
"""

import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rlagent.records.files import append_bytes
from rlagent.records.rollouts.row import Batch

ENDING = ".jsonl"


class Journal:
    """A folder of such files; nothing is created before a write."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, batch: Batch, lines: bytes) -> None:
        """Add whole lines in one write.

        Raises:
            OSError: They cannot be written, as on a full disk.
        """
        if not self.path.is_dir():
            # They hold conversations and tasks.
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.mkdir(mode=0o700, exist_ok=True)
        while not append_bytes(self._newest(batch), lines, mode=0o600):
            pass

    def take(self, batch: Batch) -> list[Path]:
        """The files of a batch, the oldest first, to which nothing is appended any more."""
        newest = self._newest(batch)
        if newest.exists():
            os.replace(newest, newest.with_name(f"{batch.stem}.{time.time_ns()}{ENDING}"))
        # Not one that was opened since.
        return self._taken(batch)

    def batches(self) -> list[Batch]:
        """The batches that have any."""
        return sorted({batch for batch, _ in named_files(self.path, ENDING)})

    def size(self) -> int:
        """Bytes of all of them."""
        return sum(size for _, size in named_files(self.path, ENDING))

    def rows(self, batch: Batch) -> list[dict[str, Any]]:
        """What was appended to a batch, in that order; none where it was packed."""
        while True:
            newest = self._newest(batch)
            # In this order: one that is renamed in between is noticed when it cannot be opened.
            opened = [newest] if newest.exists() else []
            found: list[dict[str, Any]] = []
            try:
                for path in [*self._taken(batch), *opened]:
                    with path.open("rb") as lines:
                        found += _parsed(lines)
            except FileNotFoundError:
                continue
            return found

    def _newest(self, batch: Batch) -> Path:
        return self.path / f"{batch.stem}{ENDING}"

    def _taken(self, batch: Batch) -> list[Path]:
        return sorted(self.path.glob(f"{batch.stem}.*{ENDING}"))


def named_files(folder: Path, ending: str) -> Iterator[tuple[Batch, int]]:
    """The batches that files of a folder are named after, with the bytes of each file."""
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        batch = Batch.of_stem(entry.name.partition(".")[0])
        if batch is None or not entry.name.endswith(ending):
            continue
        try:
            yield batch, entry.stat().st_size
        except FileNotFoundError:
            # Packed or thinned in between.
            continue


def _parsed(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            # Under way, or what a killed writer left.
            continue
        if isinstance(row, dict):
            yield row
