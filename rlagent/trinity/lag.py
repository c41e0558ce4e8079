"""Which weight sync comes next, and which are left when exploring, which runs ahead, is over."""

from typing import TYPE_CHECKING

from rlagent.trinity.translate import WHOLE_STEPS

if TYPE_CHECKING:
    from trinity.common.config import Config


def closes_with_a_sync(config: "Config") -> bool:
    """Whether the trainer hands over the weights of its last step, whatever the interval.

    The closing evaluation measures them. By NCCL the explorer must take part, which it does where
    both count the same steps and it does not itself decide when to sync.
    """
    synchronizer = config.synchronizer
    if synchronizer.sync_method.value != "nccl":
        return True
    whole = config.algorithm.sample_strategy == WHOLE_STEPS
    return whole and synchronizer.sync_style.value != "explorer_driven"


def syncs_left(version: int, last_step: int, interval: int, closing: bool) -> int:
    """Weight syncs that follow version `version` until the trainer has trained `last_step`.

    Args:
        version: The step whose weights were synced last; -1 before the first sync.
        last_step: The last step explored.
        interval: Steps between syncs.
        closing: Whether the last step is synced though the interval does not end with it.

    >>> syncs_left(9, 10, 1, True), syncs_left(10, 10, 1, True), syncs_left(4, 9, 2, False)
    (1, 0, 2)
    >>> syncs_left(4, 9, 2, True), syncs_left(9, 9, 2, True)
    (3, 0)
    """
    version = max(version, 0)
    if version >= last_step:
        return 0
    last = last_step % interval != 0 if closing else 0
    return last_step // interval - version // interval + last


def next_sync(version: int, interval: int) -> int:
    """The training step after which the trainer hands over weights newer than `version`.

    Args:
        version: The step whose weights were synced last; -1 before the first sync.
        interval: Steps between syncs.

    >>> next_sync(-1, 1), next_sync(4, 2), next_sync(5, 4)
    (1, 6, 8)
    """
    return (max(version, 0) // interval + 1) * interval
