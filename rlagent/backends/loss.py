"""The loss of one micro-batch from Trinity's registries, weighted so that micro-batches add up.

Trinity's policy, KL and entropy losses average over the batch they are given. Here each is scaled
by the micro-batch's share of the whole update, so that accumulated gradients equal those of one
batch. Which terms exist, and what they need, is decided by `config.algorithm` alone.
"""

from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple

import torch
from trinity.algorithm import ALGORITHM_TYPE, ENTROPY_LOSS_FN, KL_FN, POLICY_LOSS_FN
from trinity.algorithm.entropy_loss_fn.entropy_loss_fn import DummyEntropyLossFn
from trinity.algorithm.kl_fn.kl_fn import DummyKLFn

from rlagent.backends.off_policy import Correction, measure
from rlagent.config.algorithms import AGGREGATIONS, NONE, SUPERVISED, UNSUPPORTED


@dataclass(frozen=True)
class Extent:
    """How much a loss averages over.

    Attributes:
        tokens: Actions.
        sequences: Experiences.
        width: Tokens of the longest response.
    """

    tokens: int
    sequences: int
    width: int


def share_of(part: Extent, whole: Extent, aggregation: str) -> float:
    """The factor that turns the mean of a micro-batch into its summand of the update's mean.

    Args:
        part: The micro-batch.
        whole: All of the update.
        aggregation: One of AGGREGATIONS.
    """
    if aggregation == "token-mean":
        return part.tokens / whole.tokens
    if aggregation in ("seq-mean-token-sum", "seq-mean-token-mean"):
        return part.sequences / whole.sequences
    if aggregation == "seq-mean-token-sum-norm":
        return part.width / whole.width
    raise ValueError(f"algorithm.loss_agg_mode={aggregation}; allowed: {', '.join(AGGREGATIONS)}")


Term = Tuple[torch.Tensor, Mapping[str, float]]
"""A loss that averages over a micro-batch, and its metrics, as Trinity's losses return them."""


def summand(
    part: Extent,
    whole: Extent,
    policy_aggregation: str,
    aggregation: str,
    policy: Term,
    bonus: Optional[Term],
    penalty: Optional[Term],
) -> Tuple[torch.Tensor, Dict[str, float]]:
    """A micro-batch's summand of the update's loss: policy loss, minus entropy bonus, plus KL loss.

    Args:
        part: Extent of the micro-batch.
        whole: Extent of the update.
        policy_aggregation: How the policy loss averages, one of AGGREGATIONS.
        aggregation: How the others do.
        policy: The policy loss.
        bonus: The entropy bonus; None without.
        penalty: The KL loss; None without.

    Returns:
        The loss, and metrics that are to be summed over micro-batches.
    """
    policy_share = share_of(part, whole, policy_aggregation)
    other_share = share_of(part, whole, aggregation)
    token_share = part.tokens / whole.tokens
    loss = policy[0] * policy_share
    metrics = {
        name: value * (policy_share if name.endswith("loss") else token_share)
        for name, value in policy[1].items()
    }
    # cispo, topr, opmd, ... name the same quantity after themselves.
    metrics["pg_loss"] = loss.item()
    if bonus is not None:
        loss = loss - bonus[0] * other_share
        metrics.update({name: value * other_share for name, value in bonus[1].items()})
    if penalty is not None:
        loss = loss + penalty[0] * other_share
        metrics["kl_loss"] = penalty[1]["kl_loss"] * other_share
        metrics["kl_coef"] = penalty[1]["kl_coef"] * token_share
    metrics["final_loss"] = loss.item()
    return loss, metrics


def weighted(
    correction: Correction,
    advantages: Optional[torch.Tensor],
    behaviour: Optional[torch.Tensor],
    proximal: Optional[torch.Tensor],
    current: torch.Tensor,
    mask: torch.Tensor,
    tokens: int,
) -> Tuple[Optional[torch.Tensor], Dict[str, float]]:
    """Advantages times importance weights, by which the policy loss of each token is weighted.

    Args:
        correction: Which weights.
        advantages: Shape (experiences, responses); None: the loss reads none.
        behaviour: Log-probabilities that the engine recorded; None: unknown.
        proximal: Those at the start of the update; None: those of the current policy.
        current: Those of the policy that is trained.
        mask: True at actions.
        tokens: Actions of the whole update.

    Returns:
        The advantages, and the micro-batch's part of the measures (off_policy.py).

    Raises:
        ValueError: If weights are asked for and cannot be computed.
    """
    if behaviour is None:
        if correction.kind == NONE:
            return advantages, {}
        raise ValueError(
            f"algorithm.off_policy={correction.kind}: the rollout engine recorded no "
            "log-probabilities of what it sampled; take one that does, or algorithm.max_lag=0"
        )
    current = current.detach()
    proximal = current if proximal is None else proximal
    measured = measure(correction, behaviour, proximal, current, mask, tokens)
    if correction.kind == NONE:
        return advantages, measured
    if advantages is None:
        raise ValueError(f"algorithm.off_policy={correction.kind}: the loss reads no advantage")
    weights = correction.weights(correction.ratio(proximal, behaviour, mask))
    return advantages * weights, measured


class Objective:
    """Policy loss, minus entropy bonus, plus KL loss, as `config.algorithm` describes them.

    Args:
        algorithm: Trinity's AlgorithmConfig after its validators: function names and arguments set.

    Raises:
        ValueError: If the embedded trainer cannot run the algorithm type, with the reason.
    """

    def __init__(self, algorithm: Any):
        kind = algorithm.algorithm_type
        self.type = ALGORITHM_TYPE.get(kind)
        reason = UNSUPPORTED["ppo"] if self.type.use_critic else UNSUPPORTED.get(kind)
        if reason:
            raise ValueError(
                f"algorithm.algorithm_type={kind}: it {reason}, which the embedded trainer does "
                "not do; take `grpo` or another algorithm that learns from rollouts"
            )
        # Without rollouts there is no policy that sampled, and no old one.
        self.of_given = kind in SUPERVISED
        # The backend whose names for tensors are Trinity's own.
        self.policy_loss = POLICY_LOSS_FN.get(algorithm.policy_loss_fn)(
            backend="tinker", **(algorithm.policy_loss_fn_args or {})
        )
        self.kl_loss = KL_FN.get(algorithm.kl_loss_fn)(**(algorithm.kl_loss_fn_args or {}))
        self.entropy_loss = ENTROPY_LOSS_FN.get(algorithm.entropy_loss_fn)(
            **(algorithm.entropy_loss_fn_args or {"entropy_coef": 0.0})
        )
        self.correction = Correction.of(algorithm)
        # The old policy of the loss is then the behaviour policy, and the proximal one unknown.
        self.old_is_behaviour = algorithm.bypass_old_logprobs
        self.aggregation = algorithm.loss_agg_mode or "token-mean"
        self.policy_aggregation = policy_aggregation(self.policy_loss)
        self.has_kl_loss = not isinstance(self.kl_loss, DummyKLFn) and self.kl_loss.kl_coef != 0
        self.has_entropy_loss = not isinstance(self.entropy_loss, DummyEntropyLossFn)
        for mode in (self.aggregation, self.policy_aggregation):
            share_of(Extent(1, 1, 1), Extent(1, 1, 1), mode)

    @property
    def needs(self) -> List[str]:
        """Names of the tensors that the policy loss reads, beside the log-probabilities."""
        return list(self.policy_loss.select_keys)

    @property
    def entropy_gradient(self) -> bool:
        """Whether the entropy term has a gradient; with coefficient 0 it is only shown."""
        return self.has_entropy_loss and self.entropy_loss.entropy_coef != 0

    def __call__(
        self,
        logprob: torch.Tensor,
        entropy: torch.Tensor,
        fields: Mapping[str, torch.Tensor],
        part: Extent,
        whole: Extent,
    ) -> Tuple[torch.Tensor, Dict[str, float]]:
        """Loss of one micro-batch and its summands of the update's metrics.

        Args:
            logprob: Shape (experiences, responses), 0 where there is no action.
            entropy: Likewise, in nats.
            fields: `action_mask` (bool) and `old_logprob`; as needed `advantages`, `ref_logprob`,
                `rollout_logprob` (as the engine recorded them) and others, each of that shape.
            part: Extent of the micro-batch.
            whole: Extent of the update.

        Returns:
            The loss to call backward on, and metrics that are to be summed over micro-batches.
        """
        mask = fields["action_mask"]
        old = fields.get("old_logprob")
        advantages, measured = weighted(
            self.correction,
            fields.get("advantages"),
            fields.get("rollout_logprob"),
            None if self.old_is_behaviour else old,
            logprob,
            mask,
            whole.tokens,
        )
        if advantages is not None:
            fields = {**fields, "advantages": advantages}
        bonus = penalty = None
        if self.has_entropy_loss:
            bonus = self.entropy_loss(
                entropy=entropy, loss_agg_mode=self.aggregation, **_without(fields, "entropy")
            )
        if self.has_kl_loss:
            penalty = self.kl_loss.calculate_kl_loss(
                logprob=logprob,
                ref_logprob=fields["ref_logprob"],
                response_mask=mask,
                loss_agg_mode=self.aggregation,
                old_logprob=old,
            )
        loss, summands = summand(
            part,
            whole,
            self.policy_aggregation,
            self.aggregation,
            self.policy_loss(logprob=logprob, **fields),
            bonus,
            penalty,
        )
        metrics = {f"actor/{name}": value for name, value in summands.items()} | measured
        with torch.no_grad():
            metrics["actor/entropy"] = entropy.sum().item() / whole.tokens
            if "actor/ppo_kl" not in metrics and old is not None:
                gap = (old - logprob) * mask
                metrics["actor/ppo_kl"] = gap.sum().item() / whole.tokens
        return loss, metrics


def _without(fields: Mapping[str, torch.Tensor], name: str) -> Dict[str, torch.Tensor]:
    return {key: value for key, value in fields.items() if key != name}


def policy_aggregation(policy_loss: Any) -> str:
    """How a policy loss averages; REC has no such argument and averages by its clip mode."""
    mode: Optional[str] = getattr(policy_loss, "loss_agg_mode", None)
    if mode:
        return mode
    if getattr(policy_loss, "clip_mode", None) == "gspo-one-side":
        return "seq-mean-token-mean"
    return "token-mean"
