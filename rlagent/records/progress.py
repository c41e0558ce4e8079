"""What a run has come to, worked out from its metric rows: step, reward, success, speed, time left.

Pure; drawing it is left to display.py.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from rlagent.base.measures import set_names, workflow_metrics
from rlagent.base.words import duration, interval, percent

WINDOW = 10
"""Steps over which speed is averaged."""

_LOSSES = {"actor/sft_loss": "loss", "eval/loss": "held-out loss"}

DEAD_SHOWN = 0.5
"""Share of dead groups from which a step's line says it."""


@dataclass(frozen=True)
class Evaluation:
    """One measurement on held-out tasks, of all sets together or of one."""

    step: int
    success: float
    low: float
    high: float
    tasks: int
    valid: float | None = None
    # As many as tasks, or a multiple of them.
    rollouts: int = 0
    failed: int = 0
    # The step whose weights were measured; that of the measurement in older runs.
    weights: int = 0
    # The name of the set; empty: all of them.
    name: str = ""
    # Means of what the workflow itself reports.
    own: dict[str, float] = field(default_factory=dict)
    # Each set by itself, where there are several.
    sets: tuple["Evaluation", ...] = ()

    @property
    def asked(self) -> str:
        """What was asked, in words; empty where it is not known."""
        if not self.tasks:
            return ""
        repeated = self.rollouts not in (0, self.tasks)
        return f"{self.tasks} tasks" + (f", {self.rollouts} rollouts" if repeated else "")

    @property
    def when(self) -> str:
        """The step, and the one whose weights were measured where that is another."""
        of = f" (weights of step {self.weights})" if self.weights != self.step else ""
        return f"step {self.step}{of}"

    def __str__(self) -> str:
        asked = f", {self.asked}" if self.asked else ""
        text = f"{percent(self.success)} {interval(self.low, self.high)}{asked}"
        each = ", ".join(f"{one.name} {percent(one.success)}" for one in self.sets)
        return f"{text}: {each}" if each else text


def evaluation(row: dict[str, Any]) -> Evaluation | None:
    """The held-out measurement in a metrics row, if there is one."""
    found = _measured(row, "eval", "")
    if found is None:
        return None
    sets = (_measured(row, f"eval/{name}", name) for name in set_names(row["metrics"]))
    return replace(found, sets=tuple(one for one in sets if one is not None))


def _measured(row: dict[str, Any], prefix: str, name: str) -> Evaluation | None:
    metrics = row["metrics"]
    success = metrics.get(f"{prefix}/success")
    if success is None or not math.isfinite(success):
        return None
    return Evaluation(
        step=row["step"],
        success=success,
        low=metrics.get(f"{prefix}/success_low", success),
        high=metrics.get(f"{prefix}/success_high", success),
        tasks=int(metrics.get(f"{prefix}/tasks", 0)),
        valid=metrics.get(f"{prefix}/valid"),
        rollouts=int(metrics.get(f"{prefix}/rollouts", 0)),
        failed=int(metrics.get(f"{prefix}/failed", 0)),
        weights=int(metrics.get("eval/model_version", row["step"])),
        name=name,
        own=workflow_metrics(metrics, prefix),
    )


@dataclass
class Progress:
    """Filled row by row with `take`."""

    total_steps: int
    # The step that this attempt starts from.
    first_step: int = 0
    step: int = 0
    evaluations: list[Evaluation] = field(default_factory=list)
    # (unix seconds) when steps were trained, the last WINDOW + 1.
    _trained: list[tuple[int, float]] = field(default_factory=list)
    # By step: exploring may be ahead of training, and a step's speed is known after it.
    _explored: dict[int, dict[str, float]] = field(default_factory=dict)
    _speed: dict[int, float] = field(default_factory=dict)
    # Loss of the conversations that a step learnt from, and of held-out ones after it.
    _losses: dict[int, dict[str, float]] = field(default_factory=dict)

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
                self._speed[row["step"]] = metrics["tokens/per_second"]
            if row["role"] == "trainer":
                losses = {name: metrics[name] for name in _LOSSES if name in metrics}
                self._losses |= {row["step"]: losses} if losses else {}
            if row["role"] == "trainer" and row["step"] > self.step:
                self.step = row["step"]
                self._trained = [*self._trained, (row["step"], row["time"])][-WINDOW - 1 :]
                trained.append(row["step"])
        return trained

    def _take_explorer(self, row: dict[str, Any]) -> None:
        measured = evaluation(row)
        if measured:
            self.evaluations.append(measured)
        if "rollout/reward/mean" in row["metrics"]:
            self._explored[row["step"]] = row["metrics"]

    @property
    def reward(self) -> float | None:
        """Mean reward of the present step; None where it is not known."""
        return self._explored.get(self.step, {}).get("rollout/reward/mean")

    @property
    def rewards(self) -> list[float]:
        """Mean rewards of the steps up to the present one."""
        steps = sorted(step for step in self._explored if step <= self.step)
        return [self._explored[step]["rollout/reward/mean"] for step in steps]

    @property
    def seconds_per_step(self) -> float | None:
        """Seconds of one step, over the last steps; None before two are trained."""
        if len(self._trained) < 2:
            return None
        (first, began), (last, ended) = self._trained[0], self._trained[-1]
        return (ended - began) / (last - first)

    def seconds_left(self, now: float) -> float | None:
        """Seconds until the last step is trained; None before that is known.

        Args:
            now: unix seconds.
        """
        pace = self.seconds_per_step
        if pace is None:
            return None
        since = max(0.0, now - self._trained[-1][1])
        return max(0.0, pace * (self.total_steps - self.step) - min(since, pace))

    def phrases(self, step: int, course: str = "") -> list[str]:
        """What is known of a step, a phrase per number.

        Args:
            step: One that was trained.
            course: Said after the reward, such as a small picture of it.
        """
        explored = self._explored.get(step, {})
        parts = []
        if "rollout/reward/mean" in explored:
            parts.append(f"reward {explored['rollout/reward/mean']:.3f}{course}")
        if "rollout/success/mean" in explored:
            parts.append(f"success {percent(explored['rollout/success/mean'], 0)}")
        if failed := explored.get("rollout/failed_share"):
            parts.append(f"failed {percent(failed, 0)}")
        if (dead := explored.get("rollout/dead_share", 0.0)) >= DEAD_SHOWN:
            parts.append(f"dead groups {percent(dead, 0)}")
        for name, value in self._losses.get(step, {}).items():
            parts.append(f"{_LOSSES[name]} {value:.3f}")
        if step in self._speed:
            parts.append(f"{self._speed[step]:,.0f} tok/s")
        return parts

    def line(self, step: int, now: float) -> str:
        """A step in one line of at most 80 characters.

        Args:
            step: One that was trained.
            now: unix seconds.
        """
        width = len(str(self.total_steps))
        parts = [f"step {step:>{width}}/{self.total_steps}", *self.phrases(step)]
        left = self.seconds_left(now)
        if left is not None and step == self.step < self.total_steps:
            parts.append(f"{duration(left)} left")
        return "  ".join(parts)
