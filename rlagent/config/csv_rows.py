"""Checks a .csv file row by row: its reader would cut a cell at a NUL, and fill a short row up with
nothing, which turns the whole column into floats.
"""

import csv
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from rlagent.base.errors import Problem, written
from rlagent.base.names import did_you_mean
from rlagent.config.json_rows import RowError, not_utf8


def csv_problems(file: Path, columns: Iterable[str], key: str, path: str) -> list[Problem]:
    """Return the first mistake of a .csv file, with its line.

    Args:
        file: The file.
        columns: What its head must name.
        key: Configuration key that names the file.
        path: The value of that key.
    """
    limit = csv.field_size_limit(sys.maxsize)
    reader = csv.reader(_lines(file), strict=True)
    try:
        head, rows = next((row for row in reader if row), []), 0
        missing = [name for name in columns if name not in head]
        if missing:
            names = written(", ".join(head)) or "nothing"
            there = f"{file} has no {', '.join(missing)}; it has {names}"
            remedy = "set dataset.columns to those that your workflow reads"
            return [
                Problem("dataset.columns", name, there, did_you_mean(name, head, remedy))
                for name in missing
            ]
        twice = next((name for name in head if head.count(name) > 1), None)
        if twice is not None:
            raise RowError(reader.line_num, f"names the column {twice!r} twice")
        for row in reader:
            rows += bool(row)
            if row and len(row) != len(head):
                text = f"has {len(row)} cells, the first line {len(head)}"
                raise RowError(reader.line_num, text)
    except csv.Error as error:
        text = f"line {reader.line_num} of {file} is not CSV: {error}"
        return [Problem(key, path, text)]
    except RowError as error:
        return [Problem(key, path, f"line {error.line} of {file} {error}")]
    finally:
        csv.field_size_limit(limit)
    return [] if rows else [Problem(key, path, f"{file} has no rows", "name a file that has")]


def _lines(file: Path) -> Iterator[str]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise RowError(number, not_utf8(error)) from error
            if "\0" in text:
                raise RowError(number, "holds a NUL byte")
            yield text
