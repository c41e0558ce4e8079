"""What is known about the held-out tasks of a dataset before anything starts: of local JSON files
that are read in a moment.
"""

from pathlib import Path

from rlagent.config.row_folders import size_of
from rlagent.config.row_view import view_of
from rlagent.config.schema import DatasetConfig
from rlagent.config.splits import draw, hold_out, notes, repeated
from rlagent.config.task_files import (
    CHECKED_EARLY,
    Scan,
    is_single_file,
    is_table,
    question_column,
    scan,
    split_file,
)


def splits_itself(dataset: DatasetConfig) -> bool:
    """Whether the held-out tasks are a part of the one file that is trained on."""
    return bool(dataset.eval_split and not dataset.eval_path and is_single_file(dataset.path))


def held_out_key(dataset: DatasetConfig, prefix: str = "dataset") -> str:
    """The key that says where the held-out tasks are, which dataset.mix has no other for."""
    return f"{prefix}.eval_path" if dataset.eval_path else f"{prefix}.path"


def known_notes(dataset: DatasetConfig) -> list[str]:
    """Return what is to be said of the held-out tasks; nothing where the files are large, tables,
    not here or wrong, or a function would have to be run."""
    file, view = _quick(dataset.path, dataset.split), view_of(dataset)
    if file is None or not dataset.eval_split or view != view.without_code():
        return []
    training, column = _scan(file, dataset, "dataset.path"), question_column(dataset.columns)
    if splits_itself(dataset):
        kept, chosen = hold_out(training.rows, dataset.eval_tasks)
        asked = [training.questions[index] for index in chosen]
        known = [training.questions[index] for index in kept]
        return notes(len(asked), repeated(asked, known), column)
    other = _quick(dataset.eval_path or dataset.path, dataset.eval_split)
    if other is None:
        return []
    theirs = _scan(other, dataset, "dataset.eval_path").questions
    asked = [theirs[index] for index in draw(len(theirs), dataset.eval_tasks)]
    return notes(len(asked), repeated(asked, training.questions), column)


def _quick(path: str, split: str) -> Path | None:
    file = split_file(path, split)
    if file is None or is_table(file) or size_of(file) > CHECKED_EARLY:
        return None
    return file


def _scan(file: Path, dataset: DatasetConfig, key: str) -> Scan:
    return scan(file, dataset.columns, key, dataset.path, view_of(dataset))
