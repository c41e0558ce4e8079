"""How many steps the epochs of a native YAML make, where only its data can tell.

Composing counts the rows of a local file; those of the hub, or of several tasksets, are counted
here, when a run begins. An evaluation's tasks do not count.
"""

import copy
from dataclasses import replace
from typing import Any

from rlagent.base.errors import ConfigError, Problem
from rlagent.config.batch import arithmetic, count_rows
from rlagent.config.load import training_tasksets
from rlagent.config.resolve import Resolved
from rlagent.config.schema import DatasetConfig
from rlagent.trinity.tables import reading


def with_steps(resolved: Resolved) -> Resolved:
    """Return the run with a number of steps, counted in the data where it is not known.

    Trinity goes on from one epoch into the next within a step, and leaves out the last tasks that
    make no whole step.

    Raises:
        UnreachableError: The hub cannot be reached.
        ConfigError: It cannot be read, or makes no step.
    """
    if int(resolved.config.algorithm.total_steps) > 0:
        return resolved
    config = copy.deepcopy(resolved.config)
    algorithm = config.algorithm
    epochs, batch = int(algorithm.total_epochs or 1), int(algorithm.batch_size)
    native = getattr(resolved.composed, "native", None) or {}
    rows = sum(_rows(taskset) for taskset in training_tasksets(native))
    steps = rows * epochs // batch
    if not steps:
        message = f"the {rows} training tasks make no step of buffer.batch_size={batch}"
        raise ConfigError([Problem("buffer.total_epochs", epochs, message, "lower the batch size")])
    algorithm.total_steps = steps
    words = f"{steps}: {epochs} epoch{'' if epochs == 1 else 's'} of {rows} tasks, {batch} a step"
    choices = [*resolved.choices, f"steps: {words}; otherwise buffer.total_steps"]
    return replace(resolved, config=config, batch=arithmetic(config), choices=choices)


def _rows(taskset: dict[str, Any]) -> int:
    """The rows of a taskset, read as Trinity reads them."""
    path, split = str(taskset.get("path")), taskset.get("split") or "train"
    known = count_rows(DatasetConfig(path=path, split=split))
    if known is not None:
        return known
    from datasets import load_dataset

    remedy = "mend that, or set buffer.total_steps"
    with reading(path, split, "buffer.explorer_input.path", remedy):
        return len(load_dataset(path, name=taskset.get("subset_name"), split=split))
