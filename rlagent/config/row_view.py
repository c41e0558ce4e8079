"""Rows as the workflow sees them: columns renamed by dataset.map, rows chosen by dataset.filter."""

import dataclasses
import functools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rlagent.base.errors import Problem, written
from rlagent.base.names import did_you_mean
from rlagent.config.row_filter import MissingColumnError, is_reference, keeps
from rlagent.config.schema import DatasetConfig


@dataclass(frozen=True)
class View:
    """What is done to each row, in this order.

    Args:
        names: Pairs of a column's name for the workflow and the column that it is taken from, or
            a path of names with dots within nested values.
        chosen: As dataset.filter, over the new names; None: every row.
        key: Of the configuration that it comes from.
    """

    names: tuple[tuple[str, str], ...] = ()
    chosen: str | None = None
    key: str = "dataset"

    @property
    def as_is(self) -> bool:
        """Whether rows stay what they are."""
        return not self.names and self.chosen is None

    def without_code(self) -> "View":
        """The same without a function of the user's, which would have to be run."""
        foreign = self.chosen is not None and is_reference(self.chosen)
        return dataclasses.replace(self, chosen=None) if foreign else self

    def needs(self, columns: Iterable[str]) -> list[str]:
        """The columns that a source must have for these columns of a task.

        >>> View((("question", "prompt"), ("answer", "meta.truth"))).needs(["question", "level"])
        ['prompt', 'meta', 'level']
        """
        names = dict(self.names)
        found = [source.partition(".")[0] for source in names.values()]
        return [*dict.fromkeys([*found, *(name for name in columns if name not in names)])]

    def renamed(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row with the new names; a column that was taken as a whole keeps only its new one.

        Raises:
            MissingColumnError: It lacks a column.
        """
        if not self.names:
            return dict(row)
        taken = {name: pick(row, source) for name, source in self.names}
        gone = {source for _, source in self.names}
        rest = {name: value for name, value in row.items() if name not in gone}
        return {**rest, **taken}

    def keeps(self, row: Mapping[str, Any]) -> bool:
        """Whether a renamed row is a task.

        Raises:
            ValueError: The row cannot be judged.
        """
        return self._keeps(row)

    @functools.cached_property
    def _keeps(self) -> Any:
        return (lambda row: True) if self.chosen is None else keeps(self.chosen)

    def of(self, row: Mapping[str, Any]) -> dict[str, Any] | None:
        """The task that a row becomes; None where it is left out.

        Raises:
            ValueError: It cannot be judged, or lacks a column (MissingColumnError).
        """
        task = self.renamed(row)
        return task if self.keeps(task) else None

    def missing(self, error: MissingColumnError, where: str) -> Problem:
        """What is wrong where the first row lacks a column."""
        names, column = list(error.there), error.column
        text = f"{where} has no {column}; it has {written(', '.join(names)) or 'nothing'}"
        new = next((name for name, source in self.names if source == column), None)
        if error.part == "map":
            key = f"{self.key}.map.{new}"
            return Problem(key, column, text, did_you_mean(column, names))
        text = text if new is None else f"{text}; {self.key}.map makes {column} {new}"
        remedy = did_you_mean(column, names) if new is None else f"write {new}"
        return Problem(f"{self.key}.filter", self.chosen, text, remedy)

    def nothing_left(self, rows: int, where: str) -> Problem:
        """What is wrong where the filter keeps no row."""
        text = f"keeps none of the {rows} rows of {where}"
        return Problem(f"{self.key}.filter", self.chosen, text, "widen it")


AS_IS = View()


def view_of(dataset: DatasetConfig, key: str = "dataset") -> View:
    """What a taskset's configuration does to its rows."""
    return View(tuple(dataset.map.items()), dataset.filter, key)


def pick(row: Mapping[str, Any], source: str) -> Any:
    """The value of a column, or what a path with dots leads to.

    >>> pick({"a": {"b": 1}, "a.c": 2}, "a.b"), pick({"a": {"b": 1}, "a.c": 2}, "a.c")
    (1, 2)

    Raises:
        MissingColumnError: There is none.
    """
    if source in row:
        return row[source]
    value: Any = row
    for name in source.split("."):
        if not isinstance(value, Mapping) or name not in value:
            raise MissingColumnError(source, row, "map")
        value = value[name]
    return value


def as_text(row: Mapping[str, Any]) -> bytes:
    """A row as JSON on one line, in UTF-8."""
    return json.dumps(row, ensure_ascii=False).encode()
