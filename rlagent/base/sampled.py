"""What a sample of rollouts says of a training before it begins. Pure."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rlagent.base.groups import is_dead
from rlagent.base.measures import rewards_of

SAMPLED_TASKS = 16
"""Groups of a sample; with 16 a share of them is right within 25 points, 19 times of 20."""

MANY, MOST = 0.5, 0.8
"""Shares from which something is said of it, and from which little can be learnt."""
CUT_MANY = 0.3
"""Share of rollouts that are cut or over-long from which the lengths are too small."""
SOLVED = 0.5
"""Mean success above which dead groups are taken for tasks that are too easy."""


@dataclass(frozen=True)
class Sampled:
    """The numbers of a sample: of the base model, of training tasks, as training samples them.

    Args:
        tasks: Groups.
        rollouts: Of all groups together.
        reward: Mean; None: no rollout ended with one.
        group_std: Mean standard deviation of rewards within a group.
        dead: Share of groups whose rewards are all equal.
        success: Share of rollouts that succeed.
        failed: Share of rollouts that ended without a reward.
        overlong: Share of the others whose conversation outgrew the model.
        truncated: Share of the others with a response that was cut.
        valid: Share of the others that the workflow calls valid; None: it does not say.
        tokens: Response tokens of a rollout, mean.
        calls: Model calls of a rollout, mean.
        seconds: That the sample took.
        step_seconds: Expected of one training step; None: not known.
        constant: Whether all rewards are equal.
    """

    tasks: int
    rollouts: int
    reward: float | None
    group_std: float
    dead: float
    success: float
    failed: float
    overlong: float
    truncated: float
    valid: float | None
    tokens: float
    calls: float
    seconds: float
    step_seconds: float | None
    constant: bool

    def metrics(self) -> dict[str, float]:
        """The same as metrics, `signal/NAME`."""
        return {f"signal/{k}": float(v) for k, v in asdict(self).items() if v is not None}

    def lines(self) -> list[str]:
        """What is said of it: the numbers, and what they mean."""
        reward = "no reward" if self.reward is None else f"mean reward {self.reward:.3g}"
        valid = "" if self.valid is None else f"valid {_percent(self.valid)}, "
        step = ""
        if self.step_seconds is not None:
            step = f"; a step will take about {_rounded(self.step_seconds)} s"
        return [
            f"signal: {reward}, spread within groups {self.group_std:.3g}, dead groups "
            f"{_percent(self.dead)} (of {self.tasks}, {self.rollouts} rollouts)",
            f"signal: {valid}success {_percent(self.success)}, failed {_percent(self.failed)}, "
            f"over-long {_percent(self.overlong)}, cut {_percent(self.truncated)}; "
            f"{self.tokens:.0f} tokens in {self.calls:.1f} calls a rollout{step}",
            f"signal: {self.meaning()}",
        ]

    def meaning(self) -> str:
        """What it means for the training, in one sentence."""
        gone = f"{_percent(self.dead)} of groups would give no gradient"
        if self.failed >= MANY:
            return (
                f"{_percent(self.failed)} of rollouts fail and are left out: mend the workflow "
                "first"
            )
        if self.constant:
            value = "" if self.reward is None else f" ({self.reward:g})"
            return (
                f"the reward is the same in every rollout{value}, so nothing can be learnt: look "
                "at the reward function, or take tasks that the model solves at times"
            )
        if self.overlong + self.truncated >= CUT_MANY:
            return (
                f"{_percent(min(1.0, self.overlong + self.truncated))} of rollouts are cut or "
                "over-long: raise model.max_response_tokens or model.max_model_len, or ask for "
                "shorter answers"
            )
        if self.dead >= MOST:
            if self.success >= SOLVED:
                return f"{gone}: harder tasks, or a larger group (algorithm.repeat_times)"
            return f"{gone}: easier tasks, a larger group (algorithm.repeat_times) or a warm start"
        if self.dead >= MANY:
            return (
                f"{gone}: it will learn slowly; a larger group (algorithm.repeat_times) or "
                "algorithm.filter_groups=refill would help"
            )
        alive = _percent(1 - self.dead)
        return f"rewards differ within {alive} of groups: there is something to learn"


def sampled(
    groups: Sequence[Mapping[str, Any]], seconds: float, step_seconds: float | None
) -> Sampled:
    """Sum up a sample.

    Args:
        groups: Of each task, the number of its `rollouts`, and the `metrics` of each that ended
            with a reward.
        seconds: That it took.
        step_seconds: Expected of a training step.

    Raises:
        ValueError: There is no rollout.
    """
    rollouts = sum(group["rollouts"] for group in groups)
    if not rollouts:
        raise ValueError("no rollout was sampled")
    reports = [report for group in groups for report in group["metrics"]]
    rewards = [rewards_of(group["metrics"]) for group in groups]
    every = [report["reward"] for report in reports]
    spread = [statistics.pstdev(group) for group in rewards if group]

    def mean(name: str) -> float | None:
        values = [report[name] for report in reports if name in report]
        return math.fsum(values) / len(values) if values else None

    return Sampled(
        tasks=len(groups),
        rollouts=rollouts,
        reward=mean("reward"),
        group_std=math.fsum(spread) / len(spread) if spread else 0.0,
        dead=sum(is_dead(group) for group in rewards) / len(groups),
        success=math.fsum(report["success"] for report in reports) / rollouts,
        failed=1 - len(reports) / rollouts,
        overlong=mean("overlong") or 0.0,
        truncated=mean("truncated") or 0.0,
        valid=mean("valid"),
        tokens=mean("response_tokens") or 0.0,
        calls=mean("model_calls") or 0.0,
        seconds=seconds,
        step_seconds=step_seconds,
        constant=len(every) > 1 and is_dead(every),
    )


def step_seconds(
    seconds: float, rollouts: int, of_step: int, explore: float, learn: float, lag: int
) -> float:
    """Seconds expected of a training step, from those of a sample.

    Exploring is measured, and grows with the rollouts; the rest is in the proportion to it that
    was planned.

    Args:
        seconds: Of the sample.
        rollouts: Of the sample.
        of_step: Rollouts of a step.
        explore: Planned seconds of exploring a step.
        learn: Planned seconds of the rest of it.
        lag: Steps that exploring may run ahead: then the two overlap.

    >>> step_seconds(2.0, 64, 256, explore=4.0, learn=2.0, lag=0)
    12.0
    """
    exploring = seconds * of_step / rollouts
    learning = exploring * learn / explore if explore > 0 else 0.0
    return max(exploring, learning) if lag else exploring + learning


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _rounded(seconds: float) -> str:
    return f"{seconds:.1f}" if seconds < 10 else f"{seconds:.0f}"
