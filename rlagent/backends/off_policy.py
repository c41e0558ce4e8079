"""Samples that another policy drew: their importance weights, and how far the policies are apart.

The behaviour policy sampled, and its log-probabilities are those that the engine recorded; the
proximal policy is the one at the start of the update; the current one is trained. The policy loss
is an expectation under the behaviour policy, so each token of it counts by the ratio
proximal / behaviour, truncated (TIS) or masked (MIS); the loss's own ratio, current / proximal, is
clipped as ever (decoupled PPO, arXiv:2110.00641, AReaL arXiv:2505.24298).

Pure functions of tensors. The weights are those of verl's `rollout_corr_helper`, which a test
holds; it is not called, since its import takes seconds, and its measures average over the
micro-batch that it is given, so that they do not add up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rlagent.base.signs import SKIPPED
from rlagent.config.algorithms import MASKED, NONE, OF_SEQUENCES, TRUNCATED

FURTHEST = 20.0
"""Log-ratios are cut off here, as in verl: beyond it `exp` says nothing."""

FAMILY = "off_policy/"
LARGEST = "max"
"""How the name of a measure ends that is a maximum over micro-batches; the others are summed."""
_MEAN, _SQUARE = f"{FAMILY}weight/mean", f"{FAMILY}weight/square"


@dataclass(frozen=True)
class Correction:
    """How the policy loss is weighted.

    Args:
        kind: `none`, `tis`, `mis`, `seq_tis` or `seq_mis`.
        most: The largest weight: `tis` truncates to it, `mis` masks what is above.
        least: `mis` masks what is below; 0: nothing.
    """

    kind: str = NONE
    most: float = 2.0
    least: float = 0.0

    @classmethod
    def of(cls, algorithm: Any) -> "Correction":
        """The correction that Trinity's AlgorithmConfig asks for, in verl's words for it.

        `rollout_is` is `token` or `sequence`; a `rollout_is_threshold` of one number truncates,
        `least_most` masks.
        """
        asked = algorithm.rollout_correction or {}
        level = asked.get("rollout_is")
        if level is None:
            return cls()
        least, _, most = str(asked.get("rollout_is_threshold", 2.0)).rpartition("_")
        kind = MASKED if least else TRUNCATED
        kind = OF_SEQUENCES + kind if level == "sequence" else kind
        return cls(kind, float(most), float(least or 0.0))

    @property
    def of_sequences(self) -> bool:
        """Whether all tokens of an experience have one weight: the product of their ratios."""
        return self.kind.startswith(OF_SEQUENCES)

    @property
    def masks(self) -> bool:
        """Whether weights out of bounds are masked, not truncated."""
        return self.kind.endswith(MASKED)

    def ratio(
        self, proximal: torch.Tensor, behaviour: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """The importance weights before truncation or masking, 0 where there is no action.

        Args:
            proximal: Log-probabilities, shape (experiences, responses).
            behaviour: Likewise.
            mask: True at actions.
        """
        gap = torch.where(mask, proximal - behaviour, 0.0)
        if self.of_sequences:
            gap = gap.sum(-1, keepdim=True).expand_as(gap)
        return gap.clamp(-FURTHEST, FURTHEST).exp() * mask

    def out_of_bounds(self, ratio: torch.Tensor) -> torch.Tensor:
        """True where a weight is truncated or masked."""
        if self.masks:
            return (ratio > self.most) | (ratio < self.least)
        return ratio > self.most

    def weights(self, ratio: torch.Tensor) -> torch.Tensor:
        """What each token's loss is multiplied by, of `ratio`'s shape."""
        if self.kind == NONE:
            return torch.ones_like(ratio)
        if self.masks:
            return ratio.masked_fill(self.out_of_bounds(ratio), 0.0)
        return ratio.clamp(max=self.most)


def divergence(log_ratio: torch.Tensor) -> torch.Tensor:
    """What a sample adds to KL(p || q), given log q - log p: r - 1 - log r, never negative.

    Source: http://joschu.net/blog/kl-approx.html (k3), unbiased for samples of p.
    """
    log_ratio = log_ratio.clamp(-FURTHEST, FURTHEST)
    return torch.expm1(log_ratio) - log_ratio


@torch.no_grad()
def measure(
    correction: Correction,
    behaviour: torch.Tensor,
    proximal: torch.Tensor,
    current: torch.Tensor,
    mask: torch.Tensor,
    tokens: int,
) -> dict[str, float]:
    """A micro-batch's part of the measures of an update; `finished` makes them whole.

    Args:
        correction: Says which weights; without one those of single tokens are measured.
        behaviour: Log-probabilities, shape (experiences, responses).
        proximal: Likewise.
        current: Likewise.
        mask: True at actions.
        tokens: Actions of the whole update.

    Returns:
        Summands by name, those that end with LARGEST maxima. docs/metrics.md defines them.
    """
    ratio = correction.ratio(proximal, behaviour, mask)
    outside = correction.out_of_bounds(ratio) & mask
    sums = {
        _MEAN: ratio.sum(),
        _SQUARE: ratio.square().sum(),
        f"{FAMILY}kl/behaviour_proximal": divergence((proximal - behaviour)[mask]).sum(),
        f"{FAMILY}kl/proximal_current": divergence((current - proximal)[mask]).sum(),
    }
    if correction.kind != NONE:
        sums[f"{FAMILY}{'masked' if correction.masks else 'truncated'}"] = outside.sum()
    # One transfer from the device.
    values = torch.stack([*(value.float() for value in sums.values()), ratio.max()]).tolist()
    measured = {name: value / tokens for name, value in zip(sums, values, strict=False)}
    return measured | {f"{FAMILY}weight/{LARGEST}": values[-1]}


def is_largest(name: str) -> bool:
    """Whether a metric of several micro-batches or updates is the largest of theirs."""
    return name.endswith(LARGEST)


def finished(measured: Mapping[str, float]) -> dict[str, float]:
    """The measures of a whole update, with the effective sample size in the place of the squares.

    ESS = (sum w)^2 / (n sum w^2), in (0, 1]; 1: every sample counts alike.
    """
    found = dict(measured)
    square = found.pop(_SQUARE, 0.0)
    if square > 0:
        # Of equal weights the quotient may round to more.
        found[f"{FAMILY}ess"] = min(1.0, found[_MEAN] ** 2 / square)
    return found


def of_updates(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The metrics of a step from those of its updates: means, of maxima the largest, and how many
    updates were skipped."""
    found = {}
    for name in {name: None for part in parts for name in part}:
        values = [part[name] for part in parts if name in part]
        found[name] = max(values) if is_largest(name) else sum(values) / len(values)
    return {**found, SKIPPED: sum(part.get(SKIPPED, 0.0) for part in parts)}


def informative(
    metrics: Mapping[str, float], updates: int, old_is_behaviour: bool
) -> dict[str, float]:
    """The metrics of a step without those that are 0 however it went.

    In the only update of a step the current policy still is the proximal one.
    """
    if updates > 1:
        return dict(metrics)
    trivial = {f"{FAMILY}kl/proximal_current"}
    if not old_is_behaviour:
        trivial.add("actor/ppo_kl")
    return {name: value for name, value in metrics.items() if name not in trivial}


def lag_of(experiences: Sequence[Any], step: int) -> dict[str, float]:
    """Weight versions between sampling and training, per trained token.

    Args:
        experiences: Trinity's; those that do not say which weights sampled them are left out.
        step: Training step that uses them; samples of the weights of step - 1 have a lag of 0.
    """
    lags, tokens = [], []
    for experience in experiences:
        version = (experience.info or {}).get("model_version")
        actions = 0 if experience.action_mask is None else int(experience.action_mask.sum())
        if version is not None and actions:
            lags.append(step - 1 - int(version))
            tokens.append(actions)
    if not lags:
        return {}
    mean = sum(lag * count for lag, count in zip(lags, tokens, strict=True)) / sum(tokens)
    return {f"{FAMILY}lag/mean": mean, f"{FAMILY}lag/{LARGEST}": float(max(lags))}
