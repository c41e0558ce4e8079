"""Puts the tasks of a run where Trinity can read them, and checks them on the way.

Held-out tasks are always copied into the run folder: a fixed part of their split, so that every
evaluation, also after a resume, asks the same ones. Training tasks are copied only from a single
file, since Trinity reads folders.
"""

import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rlagent.config.errors import ConfigError, Problem, UnreachableError
from rlagent.config.paths import local_path
from rlagent.config.schema import DatasetConfig

DRAW_SEED = 0
"""Which held-out tasks are drawn does not depend on the run's seed: runs stay comparable."""

OWN_SHARE = 0.1
"""Share of a single training file that is held out when nothing else is given."""


def prepare_data(dataset: DatasetConfig, run_dir: Path) -> None:
    """Write `data/heldout/test.jsonl`, and `data/train/train.jsonl` for a single file.

    Does nothing for what is there already: a resumed run keeps its tasks.

    Raises:
        ConfigError: The dataset cannot be read, is empty, or lacks a column.
    """
    train = local_path(dataset.path)
    single = train is not None and train.suffix == ".jsonl"
    train_copy = run_dir / "data" / "train" / "train.jsonl"
    held_out_copy = run_dir / "data" / "heldout" / "test.jsonl"
    done = (not single or train_copy.exists()) and (
        not dataset.eval_split or held_out_copy.exists()
    )
    if done:
        return
    training: Iterable[dict[str, Any]]
    training = rows(dataset.path, dataset.split, dataset.subset, "dataset.path")
    held_out: list[dict[str, Any]] = []
    if single and dataset.eval_split and not dataset.eval_path:
        everything = check_rows(training, dataset.columns, "dataset.path")
        training, held_out = hold_out(everything, dataset.eval_tasks)
    elif dataset.eval_split:
        path = dataset.eval_path or dataset.path
        found = rows(path, dataset.eval_split, dataset.subset, "dataset.eval_path")
        everything = check_rows(found, dataset.columns, "dataset.eval_path")
        held_out = draw(everything, dataset.eval_tasks)
    if single:
        _write(check_rows(training, dataset.columns, "dataset.path"), train_copy)
    else:
        check_rows(_first(training), dataset.columns, "dataset.path")
    if held_out:
        _write(held_out, held_out_copy)


def rows(path: str, split: str, subset: str | None, key: str) -> Iterator[dict[str, Any]]:
    """The rows of a split, from a file, a folder or the hub.

    Raises:
        UnreachableError: The hub does not give it.
        ConfigError: It cannot be read, or has no such split.
    """
    local = local_path(path)
    if local is None:
        yield from _hub_rows(path, split, subset, key)
        return
    file = local if local.suffix == ".jsonl" else local / f"{split}.jsonl"
    if not file.is_file():
        if local.is_dir() and not list(local.glob("*.jsonl")):
            yield from _hub_rows(str(local), split, subset, key)
            return
        raise _problem(key, path, f"there is no file {file}", "name a folder with that file")
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                text = f"line {number} of {file} is not JSON: {error.msg}"
                raise _problem(key, path, text, "write one JSON object per line") from error
            if not isinstance(row, dict):
                text = f"line {number} of {file} is not a JSON object"
                raise _problem(key, path, text, "write one JSON object per line")
            yield row


def check_rows(
    found: Iterable[dict[str, Any]], columns: list[str], key: str
) -> list[dict[str, Any]]:
    """The rows as a list, when there is one and each has the columns.

    Raises:
        ConfigError: Naming the first row that lacks one.
    """
    checked = list(found)
    if not checked:
        raise _problem(key, None, "the dataset has no rows", "name one that has")
    for number, row in enumerate(checked, 1):
        missing = [column for column in columns if column not in row]
        if missing:
            raise _problem(
                "dataset.columns",
                columns,
                f"row {number} of {key} has no {', '.join(missing)}; "
                f"it has {', '.join(row) or 'nothing'}",
                "set dataset.columns to the columns that your workflow reads",
            )
    return checked


def draw(everything: list[dict[str, Any]], number: int) -> list[dict[str, Any]]:
    """`number` of the rows, in their order; 0 means all.

    >>> draw([{"a": 1}, {"a": 2}], 0)
    [{'a': 1}, {'a': 2}]
    """
    if number <= 0 or number >= len(everything):
        return everything
    chosen = random.Random(DRAW_SEED).sample(range(len(everything)), number)
    return [everything[index] for index in sorted(chosen)]


def hold_out(
    everything: list[dict[str, Any]], number: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Split rows into training and held-out ones: a tenth, at most `number`, at least one."""
    most = max(1, round(len(everything) * OWN_SHARE))
    wanted = min(number, most) if number > 0 else most
    if len(everything) < 2:
        return everything, everything
    chosen = set(random.Random(DRAW_SEED).sample(range(len(everything)), wanted))
    return (
        [row for index, row in enumerate(everything) if index not in chosen],
        [row for index, row in enumerate(everything) if index in chosen],
    )


def _first(found: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row, _ in zip(found, range(100), strict=False)]


def _hub_rows(path: str, split: str, subset: str | None, key: str) -> Iterator[dict[str, Any]]:
    from datasets import load_dataset

    try:
        dataset = load_dataset(path, name=subset, split=split)
    # The libraries below raise whatever their transport raises; all of it means the same here.
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        text = f"split {split!r} cannot be loaded: {reason}"
        remedy = f"check the name and the connection, or give a local folder with {split}.jsonl"
        # A wrong split or subset is a ValueError: then the dataset itself was reached.
        reached = local_path(path) is not None or isinstance(error, ValueError)
        kind = ConfigError if reached else UnreachableError
        raise kind([Problem(key, path, text, remedy)]) from error
    yield from (dict(row) for row in dataset)


def _write(found: list[dict[str, Any]], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".tmp")
    with fresh.open("w", encoding="utf-8") as file:
        for row in found:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    fresh.rename(path)


def _problem(key: str, value: object, message: str, remedy: str) -> ConfigError:
    return ConfigError([Problem(key, value, message, remedy)])
