"""Signs that a run learns nothing, read from its metric rows: what is said of them, and which
ends it. Pure; the driver says the lines while the run goes, the report afterwards.
"""

import math
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

DEAD, DEAD_STEPS = 0.8, 10
"""Share of dead groups, and steps in a row above it, from which a run is warned of."""
CONSTANT_STEPS = 3
"""Steps in a row in which every rollout earned the same, from which a run is warned of."""
COLLAPSED, ENTROPY_STEPS = 0.1, 5
"""Share of the first steps' mean entropy below which that of as many last ones has collapsed."""

FEW, FEW_STEPS = 0.5, 3
"""Effective sample size of a step, as a share, and steps in a row below it, from which a run is
warned of."""
GROWN, NOTABLE, KL_STEPS = 10.0, 0.01, 5
"""Growth of the KL from the policy that sampled, from the first steps' mean to that of as many last
ones, and nats per token at least, from which a run is warned of."""

MOST = 12
"""Lines that a report shows."""

SKIPPED, NORM = "actor/skipped_updates", "actor/grad_norm"


def settled(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics of one update of the weights, with whether it was skipped.

    A trainer skips one whose gradient is not finite, and reports that norm: as a number it would
    spoil every mean.

    >>> settled({"actor/grad_norm": float("nan")}), settled({"actor/grad_norm": 2.0})
    ({'actor/skipped_updates': 1.0}, {'actor/grad_norm': 2.0, 'actor/skipped_updates': 0.0})
    """
    skipped = not math.isfinite(metrics.get(NORM, 0.0))
    kept = {name: value for name, value in metrics.items() if name != NORM or not skipped}
    return {**kept, SKIPPED: float(skipped)}


class Signs:
    """What the rows of a run have shown so far; fed in their order.

    Args:
        limit: Steps in a row with a gradient that is not finite, after which the run fails.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._said: set[str] = set()
        self._dead = 0
        self._skipped = 0
        # The reward that every rollout of the last steps earned, and their number.
        self._same: tuple[float, int] = (math.nan, 0)
        self._first: list[float] = []
        self._last: deque[float] = deque(maxlen=ENTROPY_STEPS)
        self._few = 0
        self._apart: list[float] = []
        self._latest: deque[float] = deque(maxlen=KL_STEPS)

    def take(self, row: Mapping[str, Any]) -> list[str]:
        """Add a row of metrics.jsonl.

        Returns:
            What is to be said now, a line each; of a sign that lasts, once.
        """
        step, metrics = int(row["step"]), row["metrics"]
        if row["role"] == "trainer":
            learning = [*self._gradient(step, metrics), *self._entropy(step, metrics)]
            return learning + self._samples(step, metrics) + self._divergence(step, metrics)
        if row["role"] == "explorer" and "rollout/rollouts" in metrics:
            return self._constant(step, metrics) or self._dead_groups(step, metrics)
        return []

    @property
    def ending(self) -> str:
        """Why the run is to fail; empty: it is not."""
        if not self._skipped or self._skipped < self._limit:
            return ""
        steps = "1 step" if self._skipped == 1 else f"{self._skipped} steps in a row"
        return (
            f"the gradient was not finite in {steps} (algorithm.skip_limit={self._limit}): lower "
            "algorithm.lr, and look for rewards that are very large"
        )

    def _gradient(self, step: int, metrics: Mapping[str, float]) -> list[str]:
        if not metrics.get(SKIPPED):
            # A step without experiences updates nothing either way.
            self._skipped = 0 if SKIPPED in metrics else self._skipped
            return []
        self._skipped += 1
        row = "" if self._skipped == 1 else f", for {self._skipped} steps in a row now"
        return [
            f"step {step}: the gradient is not finite, so that the weights stay as they were{row}"
        ]

    def _entropy(self, step: int, metrics: Mapping[str, float]) -> list[str]:
        entropy = metrics.get("actor/entropy")
        if entropy is None or not math.isfinite(entropy):
            return []
        if len(self._first) < ENTROPY_STEPS:
            self._first.append(entropy)
            return []
        self._last.append(entropy)
        first, last = _mean(self._first), _mean(self._last)
        if len(self._last) < ENTROPY_STEPS or last >= COLLAPSED * first:
            return []
        return self._once(
            "entropy",
            f"the entropy has collapsed: {first:.3g} in the first steps, {last:.3g} up to step "
            f"{step}. The policy hardly varies, so groups will say ever less: lower algorithm.lr, "
            "set algorithm.entropy_coef, or stop here",
        )

    def _samples(self, step: int, metrics: Mapping[str, float]) -> list[str]:
        size = metrics.get("off_policy/ess")
        if size is None:
            return []
        self._few = self._few + 1 if size < FEW else 0
        if self._few < FEW_STEPS:
            return []
        return self._once(
            "ess",
            f"the effective sample size was below {FEW:g} of the tokens in each of the last "
            f"{FEW_STEPS} steps, {size:.2g} at step {step}: the policy that is trained is far "
            "from the one that sampled. Lower algorithm.max_lag, algorithm.sync_interval or "
            "algorithm.lr",
        )

    def _divergence(self, step: int, metrics: Mapping[str, float]) -> list[str]:
        apart = metrics.get("off_policy/kl/behaviour_proximal")
        if apart is None:
            return []
        if len(self._apart) < KL_STEPS:
            self._apart.append(apart)
            return []
        self._latest.append(apart)
        first, latest = _mean(self._apart), _mean(self._latest)
        if len(self._latest) < KL_STEPS or latest < max(NOTABLE, GROWN * first):
            return []
        return self._once(
            "kl",
            "the KL from the policy that sampled to the one that is trained has grown from "
            f"{first:.2g} to {latest:.2g} nats per token, up to step {step}: updates are too large "
            "for samples of this age, or engine and trainer compute apart. Lower algorithm.lr or "
            "algorithm.max_lag, and look at training/rollout_probs_diff_mean",
        )

    def _constant(self, step: int, metrics: Mapping[str, float]) -> list[str]:
        least, most = metrics.get("rollout/reward/min"), metrics.get("rollout/reward/max")
        if least is None or least != most:
            self._same = (math.nan, 0)
            return []
        value, steps = self._same
        self._same = (least, steps + 1 if least == value else 1)
        if self._same[1] < CONSTANT_STEPS:
            return []
        return self._once(
            "constant",
            f"the reward is constant: every rollout of the last {CONSTANT_STEPS} steps earned "
            f"{least:g}, up to step {step}. Nothing can be learnt from it: look at the reward "
            "function, or take tasks that the model solves at times",
        )

    def _dead_groups(self, step: int, metrics: Mapping[str, float]) -> list[str]:
        share = metrics.get("rollout/dead_share")
        if share is None:
            return []
        self._dead = self._dead + 1 if share > DEAD else 0
        if self._dead < DEAD_STEPS:
            return []
        return self._once(
            "dead",
            f"over {100 * DEAD:.0f} % of the groups were dead in each of the last {DEAD_STEPS} "
            f"steps, up to step {step}: all rewards of a group were equal, so that they gave no "
            "gradient. Take tasks that the model solves at times, more rollouts per task "
            "(algorithm.repeat_times), or algorithm.filter_groups=refill",
        )

    def _once(self, what: str, line: str) -> list[str]:
        # A constant reward also makes every group dead: one cause, one line.
        if what in self._said or (what == "dead" and "constant" in self._said):
            return []
        self._said.add(what)
        return [line]


def signs_in(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The lines that the rows of a run give cause for, the first MOST of them."""
    signs = Signs(limit=1)
    lines = [line for row in rows for line in signs.take(row)]
    more = [f"and {len(lines) - MOST} more"] if len(lines) > MOST else []
    return lines[:MOST] + more


def _mean(values: Iterable[float]) -> float:
    every = list(values)
    return math.fsum(every) / len(every)
