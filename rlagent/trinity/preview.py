"""The tasks of a dataset in words, as the workflow will see them; nothing is written."""

import json
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from rlagent.config.held_out import held_out_key, splits_itself
from rlagent.config.mix import Part, parts_of
from rlagent.config.schema import DatasetConfig
from rlagent.config.splits import draw, hold_out
from rlagent.trinity.kept_tasks import Rows, rows_of

_LONGEST = 1000
"""Characters of a value that is shown."""


def preview(dataset: DatasetConfig, shown: int) -> list[str]:
    """Lines about each taskset: counts per split, lengths of texts, the first tasks.

    Args:
        dataset: Of a resolved configuration.
        shown: Tasks of each split that are shown whole.

    Raises:
        ConfigError: The rows cannot be read, or some are wrong.
    """
    lines: list[str] = []
    for part in parts_of(dataset):
        lines += [f"# {part.dataset.name}: {part.dataset.path}", *_part(part, shown)]
    return lines


def _part(part: Part, shown: int) -> Iterator[str]:
    dataset = part.dataset
    training = rows_of(dataset.path, dataset.split, dataset, f"{part.key}.path")
    if splits_itself(dataset):
        kept, asked = hold_out(training.hashes(), dataset.eval_tasks)
        yield from _split(f"{dataset.split}, to train on", training, kept, shown)
        yield from _split(f"{dataset.split}, held out", training, asked, shown)
        return
    yield from _split(f"{dataset.split}, to train on", training, range(len(training)), shown)
    if dataset.eval_split:
        path = dataset.eval_path or dataset.path
        key = held_out_key(dataset, part.key)
        held_out = rows_of(path, dataset.eval_split, dataset, key)
        asked = draw(len(held_out), dataset.eval_tasks)
        yield from _split(f"{dataset.eval_split}, held out", held_out, asked, shown)


def _split(title: str, rows: Rows, chosen: Sequence[int], shown: int) -> Iterator[str]:
    wanted = set(chosen)
    tasks = [task for place, task in enumerate(rows) if place in wanted]
    of = "" if len(tasks) == rows.seen else f" of {rows.seen} rows"
    yield f"#   {title}: {len(tasks)} task{'' if len(tasks) == 1 else 's'}{of}"
    for name, lengths in _lengths(tasks).items():
        middle, longest = statistics.median(lengths), max(lengths)
        yield f"#     {name}: {middle:g} characters in the middle, {longest} at most"
    for number, task in enumerate(tasks[:shown]):
        yield f"#     task {number}"
        yield from (f"{name}: {_value(value)}" for name, value in task.items())


def _lengths(tasks: Sequence[dict[str, Any]]) -> dict[str, list[int]]:
    """Characters of each text, by column, of those that hold texts."""
    found: dict[str, list[int]] = {}
    for task in tasks:
        for name, value in task.items():
            if isinstance(value, str):
                found.setdefault(name, []).append(len(value))
    return found


def _value(value: Any) -> str:
    """A value on one line, as JSON writes it, cut to a length."""
    text = json.dumps(value, ensure_ascii=False, default=repr)
    text = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text)} characters)"
