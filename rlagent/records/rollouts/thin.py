"""Which rollouts are given up when all of them take more room than they may. Pure."""

from collections.abc import Container, Mapping, Sequence
from typing import NamedTuple, TypeVar

from rlagent.records.rollouts.row import Batch

KEPT = 8
"""Rollouts that stay of a training step that is thinned."""

Item = TypeVar("Item")


class Step(NamedTuple):
    """What to give up next."""

    batch: Batch
    # Rollouts of it that stay; 0: the file goes.
    keep: int
    # What that means, in words that do not change from one step to the next.
    words: str


def next_step(sizes: Mapping[Batch, int], thinned: Container[Batch]) -> Step | None:
    """What to give up next; None: nothing may.

    First most of the oldest training steps, then the rest of them, then the evaluations between
    the first and the last, then the newest training step. The first and the last evaluation,
    which reports and comparisons need, stay.

    Args:
        sizes: Every batch that is packed.
        thinned: Those that were thinned already.
    """
    training = sorted(batch for batch in sizes if batch.phase == "train")
    others = sorted(batch for batch in sizes if batch.phase != "train")
    older, newest = training[:-1], training[-1:]
    for batches in (older, newest):
        for batch in batches:
            if batch not in thinned:
                return Step(batch, KEPT, f"of the oldest training steps {KEPT} each are kept")
        if batches:
            return Step(batches[0], 0, "of the oldest training steps none are kept")
        if others[1:-1]:
            return Step(others[1], 0, "of the evaluations only the first and the last are kept")
    return None


def spread(items: Sequence[Item], keep: int) -> list[Item]:
    """So many of the items, evenly from all of them.

    >>> spread(range(10), 4), spread([1, 2], 4)
    ([0, 2, 5, 7], [1, 2])
    """
    if keep >= len(items):
        return list(items)
    return [items[at * len(items) // keep] for at in range(keep)]
