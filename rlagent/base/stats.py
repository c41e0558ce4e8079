"""The arithmetic behind curves and summaries: intervals, merging of repeated rows, smoothing.

Pure functions over plain numbers; reading files is left to folder.py.
"""

import math
from dataclasses import dataclass
from typing import Any, Iterable, Sequence

Z95 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution: two-sided 95 %."""


def wilson(successes: float, trials: float, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927, JASA 22:209), 95 % by default.

    Args:
        successes: How many of the trials succeeded, 0..trials.
        trials: Independent trials; with none, nothing is known: (0, 1).
        z: Normal quantile of the confidence wanted.

    Returns:
        (low, high), both in [0, 1].

    >>> low, high = wilson(50, 100)
    >>> round(low, 3), round(high, 3)
    (0.404, 0.596)
    """
    if trials <= 0:
        return 0.0, 1.0
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials")
    share = successes / trials
    scale = 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / scale
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials**2)) / scale
    # At the ends the bound is exact; rounding must not move it past the share.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return low, high


def difference(
    before: float, before_trials: int, after: float, after_trials: int
) -> tuple[float, float]:
    """95 % interval of the rise of a share (Newcombe 1998, Statistics in Medicine 17:873, method
    10, from the two Wilson intervals). Treats the two samples as independent, which is the
    careful side when both are of the same tasks.

    Args:
        before, after: Shares in [0, 1].
        before_trials, after_trials: What they are shares of.

    Returns:
        (low, high) of after - before, in [-1, 1].
    """
    low1, high1 = wilson(before * before_trials, before_trials)
    low2, high2 = wilson(after * after_trials, after_trials)
    rise = after - before
    return (
        rise - math.hypot(after - low2, high1 - before),
        rise + math.hypot(high2 - after, before - low1),
    )


def merge_rows(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per (role, step), ascending by step; what a resumed attempt repeated counts once.

    Within one attempt the rows of a step are joined, the last value of a name winning. A later
    attempt starts from a checkpoint, so from its first value of a name on it replaces what
    earlier attempts wrote under that name, steps that it did not reach again included.
    """
    rows = list(rows)
    # Of one attempt nothing is replaced; to look at every name takes most of the time.
    once = len({row.get("attempt", 1) for row in rows}) < 2
    starts: dict[tuple[str, str], dict[int, int]] = {}
    for row in () if once else rows:
        attempt = row.get("attempt", 1)
        for name in row["metrics"]:
            firsts = starts.setdefault((row["role"], name), {})
            firsts[attempt] = min(firsts.get(attempt, row["step"]), row["step"])
    merged: dict[tuple[int, str], dict[str, Any]] = {}
    for row in rows:
        attempt = row.get("attempt", 1)
        kept = (
            row["metrics"]
            if once
            else {
                name: value
                for name, value in row["metrics"].items()
                if not any(
                    later > attempt and first <= row["step"]
                    for later, first in starts[row["role"], name].items()
                )
            }
        )
        if not kept:
            continue
        key = (row["step"], row["role"])
        before = merged.get(key, {"metrics": {}})
        merged[key] = {**row, "metrics": {**before["metrics"], **kept}}
    return [merged[key] for key in sorted(merged)]


def series(rows: Iterable[dict[str, Any]], name: str, role: str | None = None) -> "Series":
    """The values of one metric over the steps; rows without it and values that are not finite
    are left out."""
    points = [
        (row["step"], row["metrics"][name])
        for row in rows
        if name in row["metrics"]
        and (role is None or row["role"] == role)
        and math.isfinite(row["metrics"][name])
    ]
    return Series(name, tuple(step for step, _ in points), tuple(value for _, value in points))


@dataclass(frozen=True)
class Series:
    """One metric over the steps."""

    name: str
    steps: tuple[int, ...]
    values: tuple[float, ...]

    def __bool__(self) -> bool:
        return bool(self.steps)

    def at(self, step: int) -> float | None:
        """The value at a step; None where there is none."""
        return dict(zip(self.steps, self.values, strict=True)).get(step)


def smooth(values: Sequence[float], weight: float = 0.6) -> list[float]:
    """Exponential moving average with bias correction, the same length as `values`.

    Args:
        values: In the order of steps.
        weight: Share of the past, in [0, 1); 0 returns the values.
    """
    if not 0 <= weight < 1:
        raise ValueError(f"weight={weight}: must be in [0, 1)")
    smoothed, total, norm = [], 0.0, 0.0
    for value in values:
        total = weight * total + (1 - weight) * value
        norm = weight * norm + (1 - weight)
        smoothed.append(total / norm)
    return smoothed


def mean(values: Sequence[float]) -> float | None:
    """The mean; None of nothing."""
    return sum(values) / len(values) if values else None


def success_fields(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Fields of status.json about held-out success: `success_before`, `valid_after` and so on.

    Args:
        rows: Metric rows of the explorer, by step; those of step 0 are from before training.
    """
    fields: dict[str, Any] = {}
    for row in rows:
        metrics = row["metrics"]
        if "eval/success" in metrics:
            edge = "before" if row["step"] == 0 else "after"
            fields[f"success_{edge}"] = metrics["eval/success"]
            fields[f"valid_{edge}"] = metrics.get("eval/valid")
    return fields
