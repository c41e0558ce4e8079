"""What several rollouts of each task say (pass@k, majorities, intervals), and what two evaluations
of the same tasks say about each other. Pure functions over plain numbers.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rlagent.base.stats import Z95, wilson


def pass_at(k: int, samples: int, successes: int) -> float:
    """The chance that at least one of k rollouts of a task succeeds, estimated without bias from
    more of them: 1 - C(n-c, k) / C(n, k) (Chen et al. 2021, arXiv:2107.03374, eq. 1).

    Args:
        k: 1..samples.
        samples: Rollouts of the task, n.
        successes: Those that succeeded, c.

    >>> pass_at(1, 4, 1), pass_at(2, 4, 1), pass_at(4, 4, 1)
    (0.25, 0.5, 1.0)
    """
    if not 1 <= k <= samples or not 0 <= successes <= samples:
        raise ValueError(f"pass@{k} of {successes} successes among {samples} rollouts")
    return 1 - math.comb(samples - successes, k) / math.comb(samples, k)


def powers_up_to(samples: int) -> list[int]:
    """The k of pass@k and maj@k: 1, 2, 4, ..., and the number of samples itself.

    >>> powers_up_to(1), powers_up_to(6), powers_up_to(8)
    ([1], [1, 2, 4, 6], [1, 2, 4, 8])
    """
    found = [2**n for n in range(samples.bit_length()) if 2**n <= samples]
    return found if found[-1] == samples else [*found, samples]


def majority_at(k: int, answers: Sequence[str | None], succeeded: Sequence[bool]) -> float:
    """The share of votes of k rollouts of a task whose most frequent answer is right.

    The rollouts vote in groups of k in their order, which leaves out a rest; answers that are
    equally frequent share the vote. Of a group without any answer the vote is lost.

    Args:
        k: 1..len(answers).
        answers: Of each rollout; None where it handed over none.
        succeeded: Whether it succeeded.

    >>> majority_at(3, ["4", "4", "5"], [True, True, False])
    1.0
    >>> majority_at(2, ["4", "5"], [True, False])
    0.5
    """
    votes = []
    for start in range(0, len(answers) - k + 1, k):
        group = list(zip(answers, succeeded, strict=True))[start : start + k]
        counted = Counter(answer for answer, _ in group if answer is not None)
        if not counted:
            votes.append(0.0)
            continue
        most = max(counted.values())
        leading = [answer for answer, count in counted.items() if count == most]
        shares = []
        for answer in leading:
            right = [float(success) for given, success in group if given == answer]
            shares.append(sum(right) / len(right))
        votes.append(sum(shares) / len(shares))
    return sum(votes) / len(votes)


def clustered_interval(counts: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """The 95 % interval of the share of rollouts that succeed, each task with some of them.

    Rollouts of one task are alike, so that they count for less than as many tasks: Wilson's
    interval of as many trials as have the standard error of the share over tasks (Kish's effective
    sample size; at least the tasks, at most the rollouts). With one rollout each it is Wilson's.
    Where all rollouts end alike nothing shows how alike those of one task are: they count as one.

    Args:
        counts: Of each task its successes and its rollouts.
    """
    asked = [(successes, rollouts) for successes, rollouts in counts if rollouts]
    if not asked:
        return 0.0, 1.0
    tasks, every = len(asked), sum(rollouts for _, rollouts in asked)
    share = math.fsum(successes for successes, _ in asked) / every
    trials = float(tasks)
    if tasks > 1 and 0 < share < 1:
        spread = math.fsum((successes - share * rollouts) ** 2 for successes, rollouts in asked)
        # Of a ratio, as tasks may have more rollouts or fewer.
        error2 = spread * tasks / (tasks - 1) / every**2
        trials = share * (1 - share) / error2 if error2 else float(every)
        trials = min(max(trials, float(tasks)), float(every))
    return wilson(share * trials, trials)


@dataclass(frozen=True)
class Paired:
    """Two evaluations of the same tasks.

    Args:
        tasks: How many they share.
        before: Mean success of the first on them.
        after: Of the second.
        difference: after - before.
        low: Lower end of its 95 % interval.
        high: Upper end.
        better: Indices of the tasks on which the second succeeds more often.
        worse: Less often.
        p: Of the exact test that tasks get better and worse equally often, two-sided.
    """

    tasks: int
    before: float
    after: float
    difference: float
    low: float
    high: float
    better: tuple[int, ...]
    worse: tuple[int, ...]
    p: float


def paired(before: Sequence[float], after: Sequence[float]) -> Paired:
    """Compare two evaluations task by task.

    The interval is Student's of the differences' mean. Where all differences are equal it has no
    spread to go by, and is a binomial's: of as many tasks, none or all changed.

    Args:
        before: Mean success of each task, in [0, 1].
        after: The same in the same order.
    """
    count = len(before)
    if not count or count != len(after):
        raise ValueError(f"{count} tasks against {len(after)}")
    changes = [b - a for a, b in zip(before, after, strict=True)]
    mean = math.fsum(changes) / count
    better = tuple(index for index, change in enumerate(changes) if change > 0)
    worse = tuple(index for index, change in enumerate(changes) if change < 0)
    spread = math.sqrt(math.fsum((each - mean) ** 2 for each in changes) / max(1, count - 1))
    # Equal differences of shares such as thirds differ in their last bits.
    if spread > 1e-9:
        half = _t95(count - 1) * spread / math.sqrt(count)
        low, high = max(-1.0, mean - half), min(1.0, mean + half)
    else:
        # Of what never changed, it is known to change in so few tasks at most.
        unseen = wilson(0, count)[1]
        low, high = max(-1.0, mean - unseen), min(1.0, mean + unseen)
    return Paired(
        tasks=count,
        before=math.fsum(before) / count,
        after=math.fsum(after) / count,
        difference=mean,
        low=low,
        high=high,
        better=better,
        worse=worse,
        p=mcnemar(len(worse), len(better)),
    )


def mcnemar(worse: int, better: int) -> float:
    """The exact p-value of McNemar's test, two-sided: how often a fair coin would part the changed
    tasks at least as unevenly.

    >>> mcnemar(0, 0), mcnemar(1, 5), mcnemar(3, 3)
    (1.0, 0.21875, 1.0)
    """
    changed = worse + better
    tail = sum(math.comb(changed, few) for few in range(min(worse, better) + 1))
    return min(1.0, 2 * tail / 2**changed)


def _t95(freedom: int) -> float:
    """The 97.5 % quantile of Student's t, by the expansion of Cornish and Fisher about the normal
    one (Abramowitz and Stegun 26.7.5); within 0.3 % from 5 degrees of freedom on."""
    if freedom < 5:
        return (12.706, 4.303, 3.182, 2.776)[max(0, freedom - 1)]
    z = Z95
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / freedom ** (power + 1) for power, term in enumerate(terms))
