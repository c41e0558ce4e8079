"""Folders of several files of rows: which files are the rows of a split together."""

import re
from pathlib import Path

JSON = (".jsonl", ".json")
"""Endings of files whose rows arrive as they are written."""

TABLES = (".csv", ".parquet")
"""Endings of files that the library `datasets` reads, and gives the types of."""

_SPLIT = re.compile(
    r"(?<![a-z])(train(ing)?|test(ing)?|valid(ation)?|val|dev|eval(uation)?)(?![a-z])", re.I
)
"""A split in the name of a file or folder, as `datasets` looks for them."""


def data_files(folder: Path) -> list[Path]:
    """The files of rows that lie in a folder, by their names."""
    if not folder.is_dir():
        return []
    return sorted(file for file in folder.iterdir() if file.suffix in JSON + TABLES)


def forms(folder: Path) -> set[str]:
    """The endings of a folder's files of rows: JSON's two count as one."""
    return {JSON[0] if file.suffix in JSON else file.suffix for file in data_files(folder)}


def is_one_set(folder: Path) -> bool:
    """Whether the files of a folder are one set of rows, part of which is held out: no file or
    folder in it is named by a split."""
    named = (entry for entry in folder.iterdir() if _SPLIT.search(entry.stem))
    return bool(data_files(folder)) and next(named, None) is None


def files_of(file: Path) -> list[Path]:
    """The files of what `task_files.split_file` found: itself, or those of a folder."""
    return data_files(file) if file.is_dir() else [file]


def size_of(file: Path) -> int:
    """Bytes of those."""
    return sum(each.stat().st_size for each in files_of(file))


def version_of(file: Path) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times of those, which differ where their rows may."""
    found = [(each, each.stat()) for each in files_of(file)]
    return tuple((each.name, stat.st_size, stat.st_mtime_ns) for each, stat in found)
