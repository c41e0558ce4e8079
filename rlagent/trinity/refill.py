"""How tasks are read beyond Trinity's way: by weights, and further ones for a step whose groups say
nothing (algorithm.filter_groups=refill).

Dead groups are left out by Trinity's own filter; here is the limit that goes with it, and how
further tasks are read without moving the step's own place in the tasks.
"""

from collections import Counter
from typing import Any

import numpy as np
from trinity.buffer.operators.filters.reward_filter import RewardSTDFilter
from trinity.buffer.task_scheduler import SimpleTasksetScheduler, TasksetScheduler
from trinity.common.config import Config

from rlagent.config.mix import places
from rlagent.trinity.translate import REFILL, WEIGHT
from rlagent.upstream import trinity_hooks


class LiveGroups(RewardSTDFilter):
    """Trinity's filter of groups without spread, of steps that are refilled.

    Args:
        threshold: Standard deviation of rewards up to which a group is left out.
        limit: Groups explored for a step, at most, in steps: the explorer reads it.
    """

    def __init__(self, threshold: float, limit: int) -> None:
        super().__init__(threshold)
        self.limit = limit


def limit_of(config: Config) -> int:
    """How many steps' groups may be explored for one step; 1: no more than its own."""
    for operator in config.data_processor.experience_pipeline.operators:
        if operator.name == REFILL:
            return int(operator.args["limit"])
    return 1


def allow_more(taskset: Any, limit: int) -> None:
    """Let a taskset be read as often as refilled steps may need.

    Trinity ends a taskset when the tasks of all steps are read.
    """
    trinity_hooks.refilled_steps.apply()
    for reader in _readers(taskset):
        reader.reader.dataset.total_samples *= limit


def weigh(taskset: Any, config: Config) -> None:
    """Have several tasksets read by their weights, where they have some: Trinity reads them by
    their sizes, all tasks of all once."""
    chosen = [each.data_selector for each in config.buffer.explorer_input.tasksets]
    weights = [each.kwargs[WEIGHT] for each in chosen if each and WEIGHT in (each.kwargs or {})]
    if len(weights) < 2 or len(weights) < len(chosen):
        return
    taskset.base_taskset_ids = places(weights, taskset.read_batch_size)
    taskset.epoch = taskset.step * taskset.read_batch_size // len(taskset.base_taskset_ids)
    taskset.orders = taskset.build_orders(taskset.epoch)


def size_of(taskset: Any) -> int:
    """Tasks that a taskset, or the smallest of several, has."""
    return min(len(reader) for reader in _readers(taskset))


async def read_more(taskset: Any, number: int, seed: tuple[int, ...]) -> list[Any]:
    """Read so many further tasks; fewer where the taskset ends.

    Args:
        taskset: Trinity's.
        number: Of tasks.
        seed: Which of several tasksets they come from; equal seeds read from the same.
    """
    readers = _readers(taskset)
    chosen = np.zeros(number, dtype=int)
    if len(readers) > 1:
        # In the proportions in which the steps themselves are read.
        chosen = np.random.default_rng(seed).choice(taskset.base_taskset_ids, number)
    tasks: list[Any] = []
    for place, count in sorted(Counter(chosen.tolist()).items()):
        try:
            found = await readers[place].read(batch_size=count)
        except StopAsyncIteration:
            continue
        for task in found:
            task.index["taskset_id"] = place
        tasks += found
    return tasks


def _readers(taskset: SimpleTasksetScheduler | TasksetScheduler) -> list[Any]:
    if isinstance(taskset, SimpleTasksetScheduler):
        return [taskset.reader]
    return taskset.tasksets
