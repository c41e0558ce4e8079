"""A folder of rollouts: appended while a step runs, packed when it ended, read with filters.

    open/train-000017.jsonl    the rollouts of a step under way, one line each, as they end
    train-000017.jsonl.gz      those of a step that ended, see segment.py
    tools/0123456789abcdef.json    a list of tools that calls were offered

Any number of processes append; one, the driver, packs. A reader sees each rollout once, whenever
it looks.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from rlagent.records.files import plain, read_rows, row_bytes, set_aside, write_atomically
from rlagent.records.rollouts.journal import Journal, named_files
from rlagent.records.rollouts.query import Query
from rlagent.records.rollouts.row import Batch, Head, Rollout, head_of
from rlagent.records.rollouts.segment import (
    JOINS,
    Opening,
    SegmentError,
    merged,
    pack,
    read_lines,
    read_opening,
)
from rlagent.records.rollouts.thin import spread

ENDING = ".jsonl.gz"

Found = TypeVar("Found")


class RolloutStore:
    """The rollouts of one run or evaluation; cheap to make, and nothing is created before a write.

    Args:
        path: The folder.
        older: A file of rollouts that an earlier version of rlagent wrote, which is read too.
    """

    def __init__(self, path: Path, older: Path | None = None) -> None:
        self.path = path
        self.older = older
        # What could not be read of the segments that were looked at, and why.
        self.damaged: dict[Path, str] = {}
        # Of which of them rollouts were left out: how many are kept, of how many.
        self.thinned: dict[Batch, tuple[int, int]] = {}
        self._journal = Journal(path / "open")
        self._older_rows: dict[Batch, list[dict[str, Any]]] | None = None

    # ---- writing ----

    def append(self, row: Rollout | dict[str, Any]) -> None:
        """Add a rollout in one write; safe from several processes.

        Raises:
            OSError: It cannot be written, as on a full disk.
        """
        self._journal.append(_batch_of(row), row_bytes({"time": round(time.time(), 3), **row}))

    def keep_tools(self, name: str, tools: Sequence[Any]) -> None:
        """Keep a list of tools that calls were offered, once for all rollouts.

        Args:
            name: Its `tools_id`.
            tools: OpenAI-style.

        Raises:
            OSError: It cannot be written.
        """
        path = self._tools_file(name)
        if not path.is_file():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(path, json.dumps(plain(list(tools))), mode=0o600)

    def tools(self, name: str) -> list[Any] | None:
        """A list of tools by its name; None where it was not kept, as by earlier versions."""
        try:
            found = json.loads(self._tools_file(name).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return found if isinstance(found, list) else None

    def _tools_file(self, name: str) -> Path:
        return self.path / "tools" / f"{name}.json"

    def join(self, batch: Batch, rows: Iterable[dict[str, Any]]) -> None:
        """Add to rollouts that were appended before what became known later.

        Args:
            batch: Theirs.
            rows: Of each its `group` and `run`, and the fields to add.

        Raises:
            OSError: It cannot be written.
        """
        self._journal.append(batch, b"".join(row_bytes({**row, JOINS: True}) for row in rows))

    def seal(self, until: int | None = None) -> list[Batch]:
        """Pack the batches of these steps; returns which. Only one process at a time may.

        Args:
            until: The last step that has ended; None: all.

        Raises:
            OSError: One cannot be written; its rollouts stay as they are.
        """
        due = [batch for batch in self._journal.batches() if until is None or batch.step <= until]
        for batch in due:
            self._seal(batch)
        return due

    def _seal(self, batch: Batch) -> None:
        files = self._journal.take(batch)
        rows = [row for path in files for row in read_rows(path)]
        segment = self.segment_file(batch)
        left_out = 0
        if segment.exists():
            try:
                with segment.open("rb") as file:
                    opening = read_opening(file)
                    lines = read_lines(file, opening)
                left_out = opening.of - len(lines)
                rows = [*(json.loads(line) for line in lines), *rows]
            except SegmentError as error:
                self.damaged[set_aside(segment)] = str(error)
        packed = merged(rows)
        if packed:
            write_atomically(segment, pack(packed, left_out + len(packed)), mode=0o600)
        for path in files:
            path.unlink()

    def thin(self, batch: Batch, keep: int) -> None:
        """Give up most rollouts of a batch that is packed; one that is damaged stays as it is.

        Args:
            batch: The batch.
            keep: How many stay; 0: the file goes.

        Raises:
            OSError: It cannot be written.
        """
        segment = self.segment_file(batch)
        if not keep:
            segment.unlink(missing_ok=True)
            self.thinned.pop(batch, None)
            return
        with segment.open("rb") as file:
            try:
                opening = read_opening(file)
                lines = spread(read_lines(file, opening), keep)
            except SegmentError as error:
                self.damaged[segment] = str(error)
                return
        rows = [json.loads(line) for line in lines]
        write_atomically(segment, pack(rows, opening.of), mode=0o600)
        self.thinned[batch] = len(rows), opening.of

    # ---- what there is ----

    def segment_file(self, batch: Batch) -> Path:
        """Where the rollouts of a batch that ended are."""
        return self.path / f"{batch.stem}{ENDING}"

    def batches(self, phase: str | None = None) -> list[Batch]:
        """The steps and phases of which there are rollouts, in the order of steps."""
        # In this order: what is packed meanwhile is found in one or the other.
        found = {*self._journal.batches(), *self.sealed(), *self._older()}
        return sorted(batch for batch in found if phase in (None, batch.phase))

    def sealed(self) -> dict[Batch, int]:
        """The batches that are packed, with the bytes that each takes."""
        return dict(named_files(self.path, ENDING))

    def activity(self) -> int:
        """Bytes of the batches that are not packed: they grow as rollouts end."""
        return self._journal.size()

    def unpacked(self) -> list[Batch]:
        """The batches of which rollouts are not packed, such as that of a step under way."""
        return self._journal.batches()

    # ---- reading ----

    def heads(self, query: Query = Query()) -> Iterator[Head]:  # noqa: B008 - frozen
        """The heads of the rollouts that are asked for, by step, phase and task.

        `query.text` is not looked at: heads do not hold what was said. Damaged segments are
        passed over and noted in `damaged`.
        """
        for batch in self.batches():
            if query.wants(batch):
                yield from (head for head in self.heads_of(batch) if query.matches(head))

    def read(self, query: Query = Query()) -> Iterator[Rollout]:  # noqa: B008 - frozen
        """The rollouts that are asked for, by step, phase and task; of each the last, where a
        resume repeated a step. Damaged segments are passed over and noted in `damaged`."""
        for batch in self.batches():
            if query.wants(batch):
                yield from self.rows_of(batch, query)

    def heads_of(self, batch: Batch) -> list[Head]:
        """The heads of one batch, by task; a damaged segment has none and is noted in `damaged`."""
        # In this order: what is packed meanwhile is found in one or the other.
        unsealed = self._unsealed(batch)
        if not unsealed:
            return self._of_segment(batch, lambda file: self._opening(batch, file).heads) or []
        return [head_of(row) for row in merged([*self._sealed_rows(batch), *unsealed])]

    def rows_of(self, batch: Batch, query: Query = Query()) -> Iterator[Rollout]:  # noqa: B008
        """The rollouts of one batch that are asked for, by task."""
        unsealed = self._unsealed(batch)
        if unsealed:
            rows = merged([*self._sealed_rows(batch), *unsealed])
            rows = [row for row in rows if query.matches(head_of(row))]
        else:
            rows = self._sealed_rows(batch, query)
        yield from (_as_read(row) for row in rows if query.says(row))

    def _sealed_rows(self, batch: Batch, query: Query = Query()) -> list[dict[str, Any]]:  # noqa: B008
        """The rows of a segment whose heads match and whose lines may hold the text."""

        def matching(file: BinaryIO) -> list[dict[str, Any]]:
            opening = self._opening(batch, file)
            wanted = [query.matches(head) for head in opening.heads]
            if not any(wanted):
                return []
            lines = zip(read_lines(file, opening), wanted, strict=True)
            return [json.loads(line) for line, want in lines if want and query.may_say(line)]

        return self._of_segment(batch, matching) or []

    def _opening(self, batch: Batch, file: BinaryIO) -> Opening:
        opening = read_opening(file)
        if opening.of > len(opening.heads):
            self.thinned[batch] = len(opening.heads), opening.of
        return opening

    def _of_segment(self, batch: Batch, read: Callable[[BinaryIO], Found]) -> Found | None:
        """What is read of a segment; None where there is none, or it is damaged."""
        path = self.segment_file(batch)
        try:
            # Opened once: another may take its place.
            with path.open("rb") as file:
                return read(file)
        except FileNotFoundError:
            return None
        except (SegmentError, OSError) as error:
            self.damaged[path] = str(error)
            return None

    def _unsealed(self, batch: Batch) -> list[dict[str, Any]]:
        return [*self._older().get(batch, ()), *self._journal.rows(batch)]

    def _older(self) -> dict[Batch, list[dict[str, Any]]]:
        if self._older_rows is None:
            self._older_rows = {}
            for row in read_rows(self.older) if self.older else ():
                if "task_index" in row:
                    # As it was called once.
                    row.setdefault("group", row["task_index"])
                if "phase" in row and "step" in row:
                    self._older_rows.setdefault(_batch_of(row), []).append(row)
        return self._older_rows


def _batch_of(row: Mapping[str, Any]) -> Batch:
    return Batch(int(row["step"]), str(row["phase"]))


def _as_read(row: dict[str, Any]) -> Rollout:
    """A row whose metrics are floats again, NaN included."""
    if "metrics" in row:
        row["metrics"] = {name: float(value) for name, value in row["metrics"].items()}
    return cast(Rollout, row)
