"""Groups that say nothing: which they are, how many there are, and how many more to explore.

An algorithm that compares the rollouts of a task learns nothing from one whose rewards are all
equal: every advantage is 0. Such a group is dead. So is one of which fewer than two rollouts ended
with a reward. Pure functions.
"""

import math
import statistics
from collections.abc import Sequence

EQUAL = 1e-6
"""Standard deviation of a group's rewards up to which they count as equal; what is left of equal
rewards by rounding is far below."""

FILTERS = ("keep", "drop", "refill")
"""What may become of dead groups (algorithm.filter_groups)."""

Groups = Sequence[Sequence[float]]
"""Of each group, the rewards of the rollouts that ended with one."""


def is_dead(rewards: Sequence[float]) -> bool:
    """Whether nothing can be learnt by comparing these rollouts.

    >>> is_dead([0.1, 0.1, 0.1]), is_dead([0.0, 1.0]), is_dead([1.0]), is_dead([])
    (True, False, True, True)
    """
    return len(rewards) < 2 or statistics.pstdev(rewards) <= EQUAL


def live(groups: Groups) -> int:
    """How many groups something can be learnt from."""
    return sum(not is_dead(rewards) for rewards in groups)


def group_metrics(groups: Groups, wanted: int) -> dict[str, float]:
    """The numbers of a step's groups.

    Args:
        groups: All that were explored for the step.
        wanted: Groups of a step (algorithm.batch_size).

    Returns:
        `rollout/groups` explored, of them the share `rollout/dead_share`, the mean standard
        deviation of rewards within a group `rollout/group_std`, and `rollout/refilled_groups`,
        those explored beyond the step's own.

    >>> group_metrics([[0.0, 1.0], [1.0, 1.0]], 1)["rollout/dead_share"]
    0.5
    """
    if not groups:
        return {}
    spread = [statistics.pstdev(rewards) for rewards in groups if rewards]
    return {
        "rollout/groups": float(len(groups)),
        "rollout/dead_share": 1 - live(groups) / len(groups),
        "rollout/group_std": math.fsum(spread) / len(spread) if spread else 0.0,
        "rollout/refilled_groups": float(max(0, len(groups) - wanted)),
    }


def more_groups(wanted: int, alive: int, explored: int, limit: int) -> int:
    """How many groups to explore next, so that the step gets those it lacks.

    As many as give them if the share of dead ones stays as it is, but no more at once than a step
    has, and never more in all than `limit` steps would have explored.

    Args:
        wanted: Groups that the step is to have.
        alive: Those that it has.
        explored: Groups explored for it so far, dead ones included.
        limit: algorithm.refill_limit.

    >>> more_groups(32, 16, 32, 4), more_groups(32, 31, 32, 4), more_groups(32, 32, 40, 4)
    (32, 2, 0)
    >>> more_groups(32, 0, 32, 4), more_groups(32, 1, 120, 4), more_groups(32, 1, 128, 4)
    (32, 8, 0)
    """
    lacking = wanted - alive
    if lacking <= 0:
        return 0
    expected = math.ceil(lacking * explored / alive) if alive else wanted
    return max(0, min(expected, wanted, limit * wanted - explored))
