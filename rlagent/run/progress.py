"""What a run has come to, worked out from its metric rows: step, reward, success, speed, time left.

Pure; drawing it is left to display.py.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from rlagent.run.words import duration, interval, percent

WINDOW = 10
"""Steps over which speed is averaged."""


@dataclass(frozen=True)
class Evaluation:
    """One measurement on held-out tasks."""

    step: int
    success: float
    low: float
    high: float
    tasks: int
    valid: float | None = None

    def __str__(self) -> str:
        tasks = f", {self.tasks} tasks" if self.tasks else ""
        return f"{percent(self.success)} {interval(self.low, self.high)}{tasks}"


def evaluation(row: dict[str, Any]) -> Evaluation | None:
    """The held-out measurement in a metrics row, if there is one."""
    metrics = row["metrics"]
    success = metrics.get("eval/success")
    if success is None or not math.isfinite(success):
        return None
    return Evaluation(
        step=row["step"],
        success=success,
        low=metrics.get("eval/success_low", success),
        high=metrics.get("eval/success_high", success),
        tasks=int(metrics.get("eval/tasks", 0)),
        valid=metrics.get("eval/valid"),
    )


@dataclass
class Progress:
    """Filled row by row with `take`."""

    total_steps: int
    # The step that this attempt starts from.
    first_step: int = 0
    step: int = 0
    reward: float | None = None
    success: float | None = None
    valid: float | None = None
    failed_share: float = 0.0
    tokens_per_second: float | None = None
    rewards: list[float] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    # (unix seconds) when steps were trained, the last WINDOW + 1.
    _trained: list[tuple[int, float]] = field(default_factory=list)
    _tokens: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.step = self.first_step

    def take(self, rows: Iterable[dict[str, Any]]) -> list[int]:
        """Add rows of this attempt, in order.

        Returns:
            The steps that were trained by them.
        """
        trained = []
        for row in rows:
            metrics = row["metrics"]
            if row["role"] == "explorer":
                self._take_explorer(row)
            if row["role"] == "driver" and "tokens/per_second" in metrics:
                self.tokens_per_second = metrics["tokens/per_second"]
            if row["role"] == "trainer" and row["step"] > self.step:
                self.step = row["step"]
                self._trained = [*self._trained, (row["step"], row["time"])][-WINDOW - 1 :]
                trained.append(row["step"])
        return trained

    def _take_explorer(self, row: dict[str, Any]) -> None:
        metrics = row["metrics"]
        measured = evaluation(row)
        if measured:
            self.evaluations.append(measured)
        if "rollout/reward/mean" in metrics:
            self.reward = metrics["rollout/reward/mean"]
            self.rewards.append(self.reward)
            self.success = metrics.get("rollout/success/mean")
            self.valid = metrics.get("rollout/valid/mean")
            self.failed_share = metrics.get("rollout/failed_share", 0.0)

    @property
    def seconds_per_step(self) -> float | None:
        """Seconds of one step, over the last steps; None before two are trained."""
        if len(self._trained) < 2:
            return None
        (first, began), (last, ended) = self._trained[0], self._trained[-1]
        return (ended - began) / (last - first)

    def seconds_left(self, now: float) -> float | None:
        """Seconds until the last step is trained; None before that can be told.

        Args:
            now: unix seconds.
        """
        pace = self.seconds_per_step
        if pace is None:
            return None
        since = max(0.0, now - self._trained[-1][1])
        return max(0.0, pace * (self.total_steps - self.step) - min(since, pace))

    def phrases(self, course: str = "") -> list[str]:
        """What is known of the present step, a phrase per number.

        Args:
            course: Said after the reward, such as a small picture of it.
        """
        parts = []
        if self.reward is not None:
            parts.append(f"reward {self.reward:.3f}{course}")
        if self.success is not None:
            parts.append(f"success {percent(self.success, 0)}")
        if self.failed_share:
            parts.append(f"failed {percent(self.failed_share, 0)}")
        if self.tokens_per_second is not None:
            parts.append(f"{self.tokens_per_second:,.0f} tok/s")
        return parts

    def line(self, now: float) -> str:
        """The present step in one line of at most 80 characters."""
        width = len(str(self.total_steps))
        parts = [f"step {self.step:>{width}}/{self.total_steps}", *self.phrases()]
        left = self.seconds_left(now)
        if left is not None and self.step < self.total_steps:
            parts.append(f"{duration(left)} left")
        return "  ".join(parts)
