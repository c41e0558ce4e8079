"""Tasks that the library `datasets` reads: .csv and .parquet files, folders of them, the hub.

Training and evaluation get what it gives, so a column has one type in both.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rlagent.base.cause import text_of
from rlagent.base.errors import ConfigError, Problem, UnreachableError, written
from rlagent.base.paths import local_path
from rlagent.config.json_rows import content_hash
from rlagent.config.row_filter import MissingColumnError
from rlagent.config.row_folders import files_of
from rlagent.config.row_view import AS_IS, View, pick
from rlagent.config.task_files import is_single_file, question_hash
from rlagent.trinity.task_row import INDEX


class Table:
    """The rows of a split.

    Args:
        path: Hub id, folder or file, `builtin:` resolved.
        split: Its name; of a file, what it is to be.
        subset: Subset of a hub dataset.
        key: The configuration key that names it.
        view: What makes a row a task.

    Raises:
        UnreachableError: The hub does not give it.
        ConfigError: It cannot be read, has no such split or column, or holds JSON.
    """

    def __init__(
        self, path: str, split: str, subset: str | None, key: str, view: View = AS_IS
    ) -> None:
        self.path, self.key = path, key
        rows = _load(path, split, subset, key)
        self.seen = len(rows)
        self._rows, self._positions = _viewed(rows, path, key, view)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._rows)

    def require(self, columns: Iterable[str]) -> None:
        """Raise ConfigError without rows or without a column; a table's rows have all of its."""
        if not len(self):
            text = "the dataset has no rows"
            raise ConfigError([Problem(self.key, self.path, text, "name one that has")])
        there = self._rows.column_names
        missing = [name for name in columns if name not in there]
        if missing:
            text = f"{self.path} has no {', '.join(missing)}; it has {written(', '.join(there))}"
            remedy = "set dataset.columns to those that your workflow reads"
            raise ConfigError([Problem("dataset.columns", None, text, remedy)])

    def hashes(self) -> list[str]:
        """Content hash of each row."""
        return [content_hash(row) for row in self._rows]

    def questions(self, column: str | None, chosen: Sequence[int] | None = None) -> list[str]:
        """Content hash of what each row asks, or each of those chosen."""
        rows = self._rows if chosen is None else self._rows.select(chosen)
        if column is not None:
            # The other columns of a large split would take minutes.
            rows = rows.select_columns([column])
        return [question_hash(row, column) for row in rows]

    def types(self) -> dict[str, str]:
        """Kind of each column's values: int, float, str, ..."""
        return {name: _kind(feature) for name, feature in self._rows.features.items()}

    def write(self, chosen: Sequence[int], folder: Path, name: str, split: str) -> None:
        """Keep some of the rows, each with its position, for Trinity to read."""
        import datasets

        file = folder / "tasks" / name / f"{split}.parquet"
        file.parent.mkdir(parents=True)
        shown = datasets.is_progress_bar_enabled()
        datasets.disable_progress_bars()
        index = [self._positions[place] for place in chosen]
        self._rows.select(chosen).add_column(INDEX, index).to_parquet(file)
        if shown:
            datasets.enable_progress_bars()


def differing(training: Table, held_out: Table) -> list[Problem]:
    """Why training and evaluation would get different kinds of the same column."""
    theirs = held_out.types()
    return [
        Problem(
            held_out.key,
            held_out.path,
            f"the column {name} is {theirs[name]} here and {kind} in the training tasks",
            "write .jsonl files, whose values arrive as they are written",
        )
        for name, kind in training.types().items()
        if theirs.get(name, kind) != kind and "null" not in (kind, theirs[name])
    ]


def _kind(feature: Any) -> str:
    name = getattr(feature, "dtype", None)
    if not isinstance(name, str):
        return type(feature).__name__
    for kind in ("uint", "int", "float", "timestamp", "duration", "decimal"):
        if name.startswith(kind):
            return "int" if kind == "uint" else kind
    return name.removeprefix("large_")


@contextlib.contextmanager
def reading(path: str, split: str, key: str, remedy: str) -> Iterator[None]:
    """Within its block `datasets` reads a split.

    Raises:
        UnreachableError: The hub does not give it.
        ConfigError: It cannot be read, or has no such split.
    """
    try:
        yield
    except ConfigError:
        raise
    # The libraries below raise whatever their transport raises; all of it means the same here.
    except Exception as error:
        # A wrong split or subset is a ValueError: then the dataset itself was reached.
        reached = local_path(path) is not None or isinstance(error, ValueError)
        text = f"split {split!r} cannot be loaded: {text_of(_inner(error))}"
        kind = ConfigError if reached else UnreachableError
        raise kind([Problem(key, path, text, remedy)]) from error


def _load(path: str, split: str, subset: str | None, key: str) -> Any:
    import datasets

    local = local_path(path)
    first = "mend it" if local else "check the name and the connection"
    remedy = f"{first}, or give a local folder with {split}.jsonl"
    with reading(path, split, key, remedy):
        if local is not None and is_single_file(path):
            files = [str(file) for file in files_of(local)]
            form = files[0].rpartition(".")[2]
            return datasets.load_dataset(form, data_files={split: files}, split=split)
        builder = datasets.load_dataset_builder(path, name=subset)
        if local is not None and type(builder).__module__.endswith("packaged_modules.json.json"):
            text = f"holds JSON, but no {split}.jsonl; `datasets` would guess types"
            raise ConfigError([Problem(key, path, text, f"name the file {split}.jsonl")])
        return datasets.load_dataset(path, name=subset, split=split)


def _viewed(rows: Any, path: str, key: str, view: View) -> tuple[Any, Sequence[int]]:
    """The tasks, and the place of each among the rows."""
    there = rows.column_names
    try:
        moved = {source: name for name, source in view.names if source in there}
        # From within nested values, and a column that is taken twice.
        copied = [(name, source) for name, source in view.names if moved.get(source) != name]
        added = {name: [pick(row, source) for row in rows] for name, source in copied}
        replaced = [name for name in there if name in dict(view.names) and name not in moved]
        whole = rows.remove_columns(replaced).rename_columns(moved)
        for name, values in added.items():
            whole = whole.add_column(name, values)
        places: Sequence[int] = range(len(rows))
        if view.chosen is not None:
            places = [place for place, row in enumerate(whole) if _keeps(view, row, place)]
            if len(rows) and not places:
                raise ConfigError([view.nothing_left(len(rows), path)])
            whole = whole.select(places)
    except MissingColumnError as error:
        raise ConfigError([view.missing(error, path)]) from error
    except ValueError as error:
        raise ConfigError([Problem(key, path, str(error))]) from error
    return whole, places


def _keeps(view: View, row: dict[str, Any], place: int) -> bool:
    try:
        return view.keeps(row)
    except MissingColumnError:
        raise
    except ValueError as error:
        raise ValueError(f"row {place} of it {error}") from error


def _inner(error: BaseException) -> BaseException:
    """What `datasets` wraps, which names the line of a file."""
    while error.__cause__ is not None and type(error).__module__.startswith("datasets"):
        error = error.__cause__
    return error
