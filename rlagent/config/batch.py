"""The batch arithmetic of a run, derived in this one place."""

from dataclasses import dataclass

from rlagent.config.held_out import splits_itself
from rlagent.config.json_rows import RowError
from rlagent.config.row_view import view_of
from rlagent.config.schema import DatasetConfig, LearnConfig
from rlagent.config.splits import own_part
from rlagent.config.supervised import is_supervised
from rlagent.config.task_files import every_text, is_table, scan, split_file

KNOWN_ROWS = {("openai/gsm8k", "train"): 7473, ("openai/gsm8k", "test"): 1319}
"""Rows of hub datasets that the shipped presets use, so that planning needs no hub."""


@dataclass(frozen=True)
class Batch:
    """How much happens in one step.

    Args:
        tasks: Tasks per step (algorithm.batch_size).
        repeat: Rollouts per task (algorithm.repeat_times).
        rollouts: Rollouts per step = tasks x repeat.
        samples: Experiences per update; None: all that the step produced. One rollout makes
            one experience per model call.
        steps: Training steps.
        rows: Rows of the training split; None when unknown.
        steps_per_epoch: rows // tasks; None when unknown.
        most_rollouts: Rollouts of a step that is refilled, at most; as `rollouts` without.
        given: Whether conversations are learnt from, which are the tasks of a step then.
    """

    tasks: int
    repeat: int
    rollouts: int
    samples: int | None
    steps: int
    rows: int | None
    steps_per_epoch: int | None
    most_rollouts: int
    given: bool = False

    def lines(self) -> list[str]:
        """Return the arithmetic as lines for a person."""
        update = "all of the step" if self.samples is None else str(self.samples)
        epoch, noun = "unknown", "conversations" if self.given else "tasks"
        if self.steps_per_epoch is not None:
            passes = self.steps / max(1, self.steps_per_epoch)
            if self.given and self.rows:
                # A pass goes on into the next one within a step.
                passes = self.steps * self.tasks / self.rows
            epochs = f"{passes:.2g}"
            epoch = (
                f"{self.steps_per_epoch} ({self.rows} {noun} // {self.tasks}); "
                f"{self.steps} step{' is' if self.steps == 1 else 's are'} "
                f"{epochs} epoch{'' if epochs == '1' else 's'}"
            )
        if self.given:
            return [f"conversations per step {self.tasks}", f"steps per epoch        {epoch}"]
        more = ""
        if self.most_rollouts > self.rollouts:
            more = f"; up to {self.most_rollouts} where groups are dead (refilled)"
        return [
            f"tasks per step     {self.tasks}",
            f"rollouts per task  {self.repeat}",
            f"rollouts per step  {self.rollouts} = {self.tasks} x {self.repeat}{more}",
            f"samples per update {update} (one per model call of a rollout)",
            f"steps per epoch    {epoch}",
        ]


def arithmetic(config: LearnConfig) -> Batch:
    """Return the batch arithmetic of a resolved configuration."""
    algorithm = config.algorithm
    tasks, repeat = int(algorithm.batch_size), int(algorithm.repeat_times)
    fixed = algorithm.train_batch_size
    given = is_supervised(config)
    rows = count_rows(config.dataset)
    if given:
        rows = rows_learnt(config)
    elif config.dataset.mix:
        # How long several tasksets last depends on their weights.
        rows = None
    limit = algorithm.refill_limit if algorithm.filter_groups == "refill" else 1
    return Batch(
        tasks=tasks,
        repeat=repeat,
        rollouts=tasks * repeat,
        samples=fixed if isinstance(fixed, int) else None,
        steps=int(algorithm.total_steps),
        rows=rows,
        steps_per_epoch=None if rows is None else rows // tasks,
        most_rollouts=tasks * repeat * limit,
        given=given,
    )


def rows_learnt(config: LearnConfig) -> int | None:
    """Return the number of conversations that are learnt from, without those that a single file
    holds out; None if unknown."""
    rows = count_rows(config.dataset)
    if rows is None or not splits_itself(config.dataset):
        return rows
    return max(0, rows - own_part(rows, config.dataset.eval_tasks))


def count_rows(dataset: DatasetConfig) -> int | None:
    """Return the number of rows of the training split, None if unknown; those that a single file
    holds out count."""
    file, view = split_file(dataset.path, dataset.split), view_of(dataset)
    if view.chosen is not None:
        if file is None or is_table(file) or view != view.without_code():
            return None
        return len(scan(file, dataset.columns, "dataset.path", dataset.path, view).rows)
    if file is None or is_table(file):
        return KNOWN_ROWS.get((dataset.path, dataset.split))
    try:
        return sum(1 for _ in every_text(file))
    except RowError:
        return None
