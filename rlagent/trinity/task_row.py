"""The row of a task, as a rollout gets it.

Trinity reads tasks with `datasets`, which guesses types and completes keys. Rows that are written
as JSON therefore stay in a file of the run folder, and Trinity gets places in it.
"""

import copy
import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlagent.config.json_rows import content_hash, parse

INDEX, START, LENGTH = "rlagent_row", "rlagent_start", "rlagent_length"
"""Columns of a place: the row's position in the user's split, from 0, and its bytes in the file."""


@dataclass(frozen=True)
class TaskRow:
    """A row that Trinity read itself: a table, or the tasks of a native YAML.

    Args:
        index: Position among the rows of the split that the user named, from 0; None: unknown.
        row: As the reader gives it.
    """

    index: int | None
    row: dict[str, Any]

    def fresh(self) -> dict[str, Any]:
        """A copy of the row, shared with no other rollout."""
        return copy.deepcopy(self.row)

    @functools.cached_property
    def hash(self) -> str:
        """16 hexadecimal digits of the SHA-256 of `json.dumps(row, sort_keys=True)`."""
        return content_hash(self.row)


@dataclass(frozen=True)
class WrittenRow(TaskRow):
    """A row that is written as JSON.

    Args:
        text: The JSON, in UTF-8.
    """

    text: bytes

    def fresh(self) -> dict[str, Any]:
        """The row, read again."""
        return parse(self.text)


def task_row(raw: dict[str, Any], index: int | None, file: str | None) -> TaskRow:
    """The row that Trinity's task stands for.

    Args:
        raw: `raw_task` of Trinity's task: a place, or the row itself.
        index: Position in what Trinity reads.
        file: The file with the rows as written, for places.

    Raises:
        OSError, ValueError: The file in the run folder is gone or was changed.
    """
    if START not in raw:
        row = dict(raw)
        return TaskRow(row.pop(INDEX, index), row)
    if file is None:
        raise ValueError("a place without the file that holds the rows")
    with Path(file).open("rb") as rows:
        rows.seek(raw[START])
        text = rows.read(raw[LENGTH])
    try:
        return WrittenRow(raw[INDEX], parse(text), text)
    except ValueError as error:
        raise ValueError(f"the task at byte {raw[START]} of {file} {error}") from error


def places(rows: Iterable[tuple[int, bytes]]) -> Iterable[tuple[bytes, dict[str, int]]]:
    """The lines of a file of rows, each with its place.

    Args:
        rows: Position in the user's split, and JSON on one line.
    """
    start = 0
    for index, text in rows:
        yield text + b"\n", {INDEX: index, START: start, LENGTH: len(text)}
        start += len(text) + 1
