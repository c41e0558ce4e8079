"""Puts the tasks of a run into its folder, where Trinity reads them, and checks them on the way.

`data/` is written once and then kept: every evaluation, also after a resume, asks the same tasks.
Training tasks that `datasets` reads from a folder or the hub stay there.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlagent.base.endings import RunError
from rlagent.base.errors import ConfigError, Problem, raise_if_any
from rlagent.base.paths import local_path, resolve_path
from rlagent.config.functions import import_function
from rlagent.config.held_out import held_out_key, splits_itself
from rlagent.config.json_rows import content_hash, parse
from rlagent.config.mix import Part, parts_of
from rlagent.config.row_filter import MissingColumnError
from rlagent.config.row_folders import files_of
from rlagent.config.row_view import AS_IS, View, as_text, view_of
from rlagent.config.schema import DatasetConfig
from rlagent.config.splits import draw, hold_out, notes, repeated
from rlagent.config.task_files import (
    every_text,
    is_function,
    is_single_file,
    is_table,
    missing_split,
    question_column,
    question_hash,
    scan,
    split_file,
    table_problems,
)
from rlagent.trinity.tables import Table, differing
from rlagent.trinity.task_row import places

TRAIN, HELD_OUT = ("train", "train"), ("heldout", "test")
"""Folder and split of each kind of tasks, below `data/` and `data/tasks/`."""

_MANIFEST = "tasks.json"


class WrittenRows:
    """The rows of a JSON file; methods as of `tables.Table`."""

    def __init__(
        self, file: Path, columns: Iterable[str], key: str, path: str, view: View = AS_IS
    ) -> None:
        self._file, self._view = file, view
        self._scan = scan(file, columns, key, path, view)
        self.seen, self.lines = self._scan.seen, self._scan.lines

    def __len__(self) -> int:
        return len(self._scan.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (parse(text) for _, text in self._texts())

    def _texts(self) -> Iterator[tuple[int, bytes]]:
        """Each task as JSON, with the place of its row among all of the file."""
        places_of = iter(self._scan.positions)
        wanted = next(places_of, None)
        for position, text in enumerate(every_text(self._file)):
            if position == wanted:
                renamed = self._view.names
                yield position, as_text(self._view.renamed(parse(text))) if renamed else text
                wanted = next(places_of, None)

    def require(self, columns: Iterable[str]) -> None:
        """Raise ConfigError with what is wrong in any row."""
        raise_if_any(self._scan.problems)

    def hashes(self) -> list[str]:
        """Content hash of each row."""
        return self._scan.rows

    def questions(self, column: str | None, chosen: Sequence[int] | None = None) -> list[str]:
        """Content hash of what each row asks, or each of those chosen."""
        every = self._scan.questions
        return every if chosen is None else [every[index] for index in chosen]

    def write(self, chosen: Sequence[int], folder: Path, name: str, split: str) -> None:
        """Keep some of the rows as they are written, and for Trinity their places."""
        wanted = set(chosen)
        kept = (found for index, found in enumerate(self._texts()) if index in wanted)
        _write_texts(kept, folder, name, split)


class MadeRows:
    """The rows that a function makes; methods as of `tables.Table`."""

    def __init__(self, dataset: DatasetConfig, path: str, split: str, key: str) -> None:
        made = list(made_rows(path, split, dataset.args, key))
        view = view_of(dataset, key.rpartition(".")[0])
        self.seen, self._path, self._key = len(made), path, key
        self._tasks, self._positions, self._view = [], [], view
        for position, row in enumerate(made):
            where = f"row {position} of {path}"
            try:
                task = view.of(row)
            except MissingColumnError as error:
                raise ConfigError([view.missing(error, where)]) from error
            except ValueError as error:
                raise ConfigError([Problem(key, path, f"{where} {error}")]) from error
            if task is not None:
                self._tasks.append(task)
                self._positions.append(position)

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._tasks)

    def require(self, columns: Iterable[str]) -> None:
        """Raise ConfigError without tasks, or where one lacks a column."""
        if self.seen and not self._tasks:
            raise ConfigError([self._view.nothing_left(self.seen, self._path)])
        if not self._tasks:
            raise ConfigError([Problem(self._key, self._path, "makes no rows")])
        for position, task in zip(self._positions, self._tasks, strict=True):
            for name in columns:
                if name not in task:
                    text = f"row {position} of {self._path} has no {name}; it has {', '.join(task)}"
                    raise ConfigError([Problem("dataset.columns", name, text)])

    def hashes(self) -> list[str]:
        """Content hash of each task."""
        return [content_hash(task) for task in self._tasks]

    def questions(self, column: str | None, chosen: Sequence[int] | None = None) -> list[str]:
        """Content hash of what each task asks, or each of those chosen."""
        every = range(len(self)) if chosen is None else chosen
        return [question_hash(self._tasks[index], column) for index in every]

    def write(self, chosen: Sequence[int], folder: Path, name: str, split: str) -> None:
        """Keep some of the tasks as JSON, and for Trinity their places."""
        kept = ((self._positions[index], as_text(self._tasks[index])) for index in chosen)
        _write_texts(kept, folder, name, split)


def made_rows(
    path: str, split: str, arguments: Mapping[str, Any], key: str
) -> Iterator[dict[str, Any]]:
    """The rows that a function of a dataset makes, each checked to be JSON as it is.

    Raises:
        ConfigError: It fails, or makes something else.
    """
    number = 0
    try:
        for number, row in enumerate(import_function(path)(split, **arguments)):
            text = json.dumps(row, allow_nan=False)
            # What only looks like JSON, such as a tuple, would not arrive as it was made.
            if not isinstance(row, dict) or parse(text.encode()) != row:
                raise ConfigError([Problem(key, path, f"row {number} is no object of JSON values")])
            yield row
    except ConfigError:
        raise
    # Whatever the function raises ends the command in a line.
    except Exception as error:
        text = f"failed at row {number} of the split {split}: {type(error).__name__}: {error}"
        raise ConfigError([Problem(key, path, text)]) from error


def _write_texts(kept: Iterable[tuple[int, bytes]], folder: Path, name: str, split: str) -> None:
    rows, theirs = rows_file(folder, name, split), folder / "tasks" / name / f"{split}.jsonl"
    for file in (rows, theirs):
        file.parent.mkdir(parents=True)
    with rows.open("wb") as lines, theirs.open("w", encoding="utf-8") as pointers:
        for line, place in places(kept):
            lines.write(line)
            pointers.write(json.dumps(place) + "\n")


def rows_file(folder: Path, name: str, split: str) -> Path:
    """Where rows that are written as JSON are kept; `folder` is the run folder's `data/`."""
    return folder / name / f"{split}.jsonl"


def taskset(dataset: DatasetConfig, run_dir: Path, name: str = TRAIN[0]) -> tuple[Path | None, str]:
    """Folder and split that Trinity reads training tasks from; None: from where they are.

    Args:
        dataset: Of one taskset.
        run_dir: The run folder.
        name: Of the folder where they are kept.
    """
    kept, file = run_dir / "data" / "tasks" / name, split_file(dataset.path, dataset.split)
    stays = is_table(file) and not is_single_file(dataset.path) and not is_function(dataset.path)
    if stays and view_of(dataset).as_is and not kept.is_dir():
        return None, dataset.split
    return kept, TRAIN[1]


def prepare_data(dataset: DatasetConfig, run_dir: Path) -> list[str]:
    """Write the run's tasks below `data/`, unless they are there and whole.

    Returns:
        What is to be said about them, one line each.

    Raises:
        ConfigError: The dataset cannot be read, is empty, or a row is wrong.
        RunError: What is there is damaged, and the dataset has changed since.
    """
    return keep(run_dir, dataset.path, lambda folder: _write_all(dataset, folder))


def prepare_held_out(dataset: DatasetConfig, run_dir: Path) -> list[str]:
    """The same of the held-out tasks alone, for an evaluation, which needs no training tasks."""
    return keep(run_dir, dataset.eval_path or dataset.path, lambda at: write_held_out(dataset, at))


def held_out_places(run_dir: Path, name: str = HELD_OUT[0]) -> list[dict[str, int]] | None:
    """The places of a taskset's held-out tasks, as Trinity reads them, in their order; None where
    Trinity reads a table, or there are none."""
    file = run_dir / "data" / "tasks" / name / f"{HELD_OUT[1]}.jsonl"
    if not file.is_file():
        return None
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def keep(run_dir: Path, source: str, write: Callable[[Path], list[str]]) -> list[str]:
    """Have `write` fill the run's `data/`, unless that is there and whole; otherwise as above.

    Args:
        run_dir: The run folder.
        source: What the tasks are read from, in words.
        write: Fills a folder that is not there yet, and returns what is to be said.
    """
    folder, fresh = run_dir / "data", run_dir / "data.new"
    manifest = _read_manifest(folder)
    damaged = [] if manifest is None else _damaged(folder, manifest["files"])
    if manifest is not None and not damaged:
        return list(manifest["notes"])
    if fresh.exists():
        shutil.rmtree(fresh)
    said = write(fresh)
    fresh.mkdir(parents=True, exist_ok=True)
    files = {str(path.relative_to(fresh)): _digest(path) for path in _files(fresh)}
    if manifest is not None:
        names = ", ".join(damaged)
        if files != manifest["files"]:
            raise RunError(
                f"{names} in {folder} {'is' if len(damaged) == 1 else 'are'} damaged, and "
                f"{source} no longer gives the same tasks; start from scratch with run.fresh=true"
            )
        for name in damaged:
            (fresh / name).replace(folder / name)
        shutil.rmtree(fresh)
        return [*said, f"the run's copy of its tasks was damaged and is written again: {names}"]
    (fresh / _MANIFEST).write_text(json.dumps({"files": files, "notes": said}, indent=1) + "\n")
    if folder.exists():
        shutil.rmtree(folder)
    fresh.rename(folder)
    return said


def _write_all(dataset: DatasetConfig, folder: Path) -> list[str]:
    parts = parts_of(dataset)
    said = []
    for part in parts:
        found = _write(part, folder)
        said += [f"{part.dataset.name}: {line}" for line in found] if len(parts) > 1 else found
    return said


def _write(part: Part, folder: Path) -> list[str]:
    dataset, held_out_at = part.dataset, (part.held_out, HELD_OUT[1])
    training = rows_of(dataset.path, dataset.split, dataset, f"{part.key}.path")
    column = question_column(dataset.columns)
    chosen: Sequence[int] = range(len(training))
    said: list[str] = []
    if splits_itself(dataset):
        chosen, asked = hold_out(training.hashes(), dataset.eval_tasks)
        training.write(asked, folder, *held_out_at)
        known = training.questions(column, chosen)
        said = notes(len(asked), repeated(training.questions(column, asked), known), column)
    elif dataset.eval_split:
        path = dataset.eval_path or dataset.path
        key = held_out_key(dataset, part.key)
        held_out = rows_of(path, dataset.eval_split, dataset, key)
        if isinstance(training, Table) and isinstance(held_out, Table):
            raise_if_any(differing(training, held_out))
        asked = draw(len(held_out), dataset.eval_tasks)
        held_out.write(asked, folder, *held_out_at)
        known = training.questions(column)
        said = notes(len(asked), repeated(held_out.questions(column, asked), known), column)
    if taskset(dataset, folder.parent, part.train)[0] is not None:
        training.write(chosen, folder, part.train, TRAIN[1])
    return said


def write_held_out(dataset: DatasetConfig, folder: Path) -> list[str]:
    """Write the held-out tasks alone below a folder; returns what is to be said about them."""
    if splits_itself(dataset):
        rows = rows_of(dataset.path, dataset.split, dataset, "dataset.path")
        asked = hold_out(rows.hashes(), dataset.eval_tasks)[1]
    else:
        path = dataset.eval_path or dataset.path
        rows = rows_of(path, dataset.eval_split or "", dataset, held_out_key(dataset))
        asked = draw(len(rows), dataset.eval_tasks)
    rows.write(asked, folder, *HELD_OUT)
    return notes(len(asked), 0, None)


Rows = WrittenRows | MadeRows | Table


def rows_of(path: str, split: str, dataset: DatasetConfig, key: str) -> Rows:
    """The tasks of a split, each with the dataset's columns.

    Args:
        key: What named the path, for what is wrong with it.

    Raises:
        ConfigError: They cannot be read, or some are wrong.
    """
    file, view = split_file(path, split), view_of(dataset, key.rpartition(".")[0] or "dataset")
    rows: Rows
    if is_function(path):
        rows = MadeRows(dataset, path, split, key)
    elif file is not None and not is_table(file):
        rows = WrittenRows(file, dataset.columns, key, path, view)
    else:
        problem = None if file else missing_split(key, path, split)
        raise_if_any([problem] if problem else [])
        local = local_path(path) if is_single_file(path) else None
        for each in files_of(local) if local else [file] if file else []:
            raise_if_any(table_problems(each, dataset.columns, key, path, view))
        rows = Table(resolve_path(path), split, dataset.subset, key, view)
    rows.require(dataset.columns)
    return rows


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        return manifest if {"files", "notes"} <= manifest.keys() else None
    except (OSError, ValueError, AttributeError):
        # Without it the rest may be incomplete: it is written again.
        return None


def _damaged(folder: Path, files: dict[str, str]) -> list[str]:
    return [
        name
        for name, digest in files.items()
        if not (folder / name).is_file() or _digest(folder / name) != digest
    ]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
