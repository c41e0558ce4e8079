"""Which file a split's rows come from, and the check of every row in it, without the libraries that
read tables.
"""

import functools
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rlagent.base.errors import Problem, written
from rlagent.base.names import did_you_mean, listed
from rlagent.base.paths import BUILTIN, local_path
from rlagent.config.csv_rows import csv_problems
from rlagent.config.json_rows import RowError, content_hash, parse, texts
from rlagent.config.row_filter import MissingColumnError, is_reference
from rlagent.config.row_folders import JSON as JSON
from rlagent.config.row_folders import TABLES as TABLES
from rlagent.config.row_folders import files_of, forms, is_one_set, version_of
from rlagent.config.row_view import AS_IS, View
from rlagent.config.wrong_rows import WrongRows

CHECKED_EARLY = 8 << 20
"""Bytes up to which every row is read before anything starts; those of larger files follow when
the run has its folder."""


def split_file(path: str, split: str) -> Path | None:
    """The local file with the rows of a split: `path` itself, or of a folder `{split}.jsonl`, else
    .json, else .csv; or a folder whose JSON files are all of them: `{split}/`, or `path` itself
    where no file in it is named by a split. None where there is none, or `datasets` finds it."""
    local = None if is_function(path) else local_path(path)
    if local is None:
        return None
    if local.is_file():
        return local if local.suffix in JSON + TABLES else None
    named = (file for end in (*JSON, ".csv") if (file := local / f"{split}{end}").is_file())
    whole = (local / split, *([local] if local.is_dir() and is_one_set(local) else []))
    return next(named, None) or next((at for at in whole if forms(at) == {JSON[0]}), None)


def is_function(path: str) -> bool:
    """Whether a dataset's path names a function that makes the rows.

    >>> is_function("mine.py:rows"), is_function("mine.jsonl"), is_function("builtin:gsm8k_tiny")
    (True, False, False)
    """
    return is_reference(path) and not path.startswith(BUILTIN) and not Path(path).exists()


def is_single_file(path: str) -> bool:
    """Whether a dataset's path names one set of rows, part of which is held out: a file, or a
    folder of several in which none is named by a split."""
    local = None if is_function(path) else local_path(path)
    if local is not None and local.is_dir():
        return is_one_set(local)
    return local is not None and local.suffix in JSON + TABLES


def is_table(file: Path | None) -> bool:
    """Whether `datasets` reads this file; None, for all that `split_file` does not find, is too."""
    return file is None or file.suffix in TABLES


def missing_split(key: str, path: str, split: str) -> Problem | None:
    """What is wrong where `split_file` finds nothing; None: `datasets` is to look, on the hub or
    in a folder of tables."""
    local = local_path(path)
    if local is None:
        return None
    if not local.exists():
        return Problem(key, path, "there is no such file or folder", "give a path or a hub id")
    if local.is_file():
        allowed = f"must end in {', '.join(JSON + TABLES)}, or be a folder"
        return Problem(key, path, allowed, "write a .jsonl file with one JSON object per line")
    if is_one_set(local):
        several = sorted(forms(local))
        if len(several) == 1:
            return None
        text = f"holds files of several forms: {', '.join(several)}"
        return Problem(key, path, text, "keep one form of file in it")
    there = sorted(file.stem for file in local.glob("*.jsonl"))
    if not there and any(local.iterdir()):
        return None
    near = did_you_mean(split, there)
    message = f"has no {split}.jsonl" + listed("; splits there: ", there, near)
    remedy = near or f"name a folder with {split}.jsonl, or another split"
    return Problem(key, path, message, remedy)


@dataclass
class Scan:
    """What one look at every row has shown.

    Args:
        rows: Content hash of each row that is a task.
        questions: Content hash of what each of them asks.
        lines: Line that each begins at, from 1.
        positions: Place of each among all rows, from 0.
        seen: How many rows there are, those that are no tasks included.
        problems: What is wrong, a few rows of it named.
    """

    rows: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    lines: "array[int]" = field(default_factory=lambda: array("q"))
    positions: "array[int]" = field(default_factory=lambda: array("q"))
    seen: int = 0
    problems: list[Problem] = field(default_factory=list)


def question_column(columns: Iterable[str]) -> str | None:
    """The column by which two tasks are the same: `question`, else the first of
    dataset.columns; None: the whole row."""
    names = list(columns)
    return "question" if "question" in names else next(iter(names), None)


def question_hash(row: dict[str, Any], column: str | None) -> str:
    """Content hash of what a row asks; of the whole row where the column is empty."""
    return content_hash((row if column is None else row.get(column)) or row)


def scan(file: Path, columns: Iterable[str], key: str, path: str, view: View = AS_IS) -> Scan:
    """Read every row of a JSON file; the same file is read once.

    Args:
        file: As from `split_file`.
        columns: What every task must have.
        key: Configuration key that names the file, for the problems.
        path: The value of that key.
        view: What makes a row a task.
    """
    found = _scan(file, tuple(columns), version_of(file), view)
    named = [item if item.key else replace(item, key=key, value=path) for item in found.problems]
    return replace(found, problems=named)


@functools.lru_cache(maxsize=4)
def _scan(file: Path, columns: tuple[str, ...], version: object, view: View) -> Scan:
    found, column = Scan(), question_column(columns)
    wrong = WrongRows(found.problems)
    for part in files_of(file):
        try:
            for line, text in texts(part):
                found.seen += 1
                try:
                    row = view.of(parse(text))
                except MissingColumnError as error:
                    where = f"line {line} of {part}"
                    if not found.rows and not wrong.count:
                        found.problems.append(view.missing(error, where))
                        return found
                    wrong.add(Problem("", None, f"{where} {error}", "complete it"))
                    continue
                except ValueError as error:
                    wrong.add(_unreadable(part, line, error))
                    continue
                if row is None:
                    continue
                missing = [name for name in columns if name not in row]
                if missing and not found.rows and not wrong.count:
                    # Rather the columns are wrong than every row.
                    found.problems += _columns(part, line, missing, row)
                    return found
                if missing:
                    wrong.add(_lacking(part, line, missing, row))
                found.rows.append(content_hash(row))
                found.questions.append(question_hash(row, column))
                found.lines.append(line)
                found.positions.append(found.seen - 1)
        except RowError as error:
            found.problems.append(_unreadable(part, error.line, error))
    wrong.close()
    if found.seen and not found.rows and not found.problems:
        found.problems.append(view.nothing_left(found.seen, str(file)))
    elif not found.rows and not found.problems:
        found.problems.append(Problem("", None, f"{file} has no rows", "name a file that has"))
    return found


def every_text(file: Path) -> Iterator[bytes]:
    """Each row of what `split_file` found, as JSON on one line."""
    return (text for part in files_of(file) for _, text in texts(part))


def table_problems(
    file: Path, columns: Iterable[str], key: str, path: str, view: View = AS_IS
) -> list[Problem]:
    """Return what is wrong with a file that `datasets` reads, as far as it would not say so."""
    if file.suffix != ".csv":
        return []
    mapped = {source.partition(".")[0]: name for name, source in view.names}
    problems = csv_problems(file, view.needs(columns), key, path)
    return [
        replace(item, key=f"{view.key}.map.{mapped[str(item.value)]}")
        if item.key == "dataset.columns" and item.value in mapped
        else item
        for item in problems
    ]


def _unreadable(file: Path, line: int, error: ValueError) -> Problem:
    form = str(error).startswith(("is not JSON", "is not a JSON"))
    remedy = "write one JSON object per line" if form and file.suffix != ".json" else ""
    return Problem("", None, f"line {line} of {file} {error}", remedy)


def _lacking(file: Path, line: int, missing: list[str], row: dict[str, Any]) -> Problem:
    text = f"line {line} of {file} has no {', '.join(missing)}; it has {_names(row)}"
    return Problem("", None, text, "complete it, or leave out of dataset.columns what may lack")


def _columns(file: Path, line: int, missing: list[str], row: dict[str, Any]) -> list[Problem]:
    return [
        Problem(
            "dataset.columns",
            name,
            f"line {line} of {file} has no {name}; it has {_names(row)}",
            did_you_mean(name, list(row), "set dataset.columns to those that your workflow reads"),
        )
        for name in missing
    ]


def _names(row: dict[str, Any]) -> str:
    return written(", ".join(row)) if row else "nothing"
