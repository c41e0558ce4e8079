"""Trinity's losses for verl, so that micro-batches and GPUs add up to one batch.

Trinity averages over the micro-batch that it is given, and verl adds the micro-batches of a GPU
up: which tokens share a micro-batch would decide how much each of them counts. Here every
micro-batch is weighted by its share of the whole step; padding rows have none.
"""

from typing import Any

import torch
from trinity.common.config import AlgorithmConfig
from trinity.trainer.verl.losses import TrinityPolicyLoss
from verl.utils.metric import AggregationType, Metric
from verl.workers.utils.padding import no_padding_2_padding

from rlagent.backends.loss import Extent, policy_aggregation, summand, weighted
from rlagent.backends.off_policy import Correction, is_largest


class StepLoss(TrinityPolicyLoss):
    """Trinity's policy loss, minus entropy bonus, plus KL loss, over a whole step.

    Args:
        algorithm: Trinity's, after its validators.
        fresh: Whether the old log-probabilities are those of the weights at hand, because the
            step is trained on in one update: then they need no pass of their own.
    """

    def __init__(self, algorithm: AlgorithmConfig, fresh: bool) -> None:
        super().__init__(algorithm)
        self.fresh = fresh
        self.correction = Correction.of(algorithm)
        self.old_is_behaviour = algorithm.bypass_old_logprobs
        self.aggregation = algorithm.loss_agg_mode or "token-mean"
        self.policy_aggregation = policy_aggregation(self.policy_loss_fn)
        coefficient = getattr(self.entropy_loss_fn, "entropy_coef", 0.0)
        self.entropy_gradient = bool(self.calculate_entropy and coefficient)

    def __call__(
        self, model_output: dict[str, torch.Tensor], data: Any, dp_group: Any = None
    ) -> tuple[torch.Tensor, dict[str, Metric]]:
        """One micro-batch's summand of the step's loss, times the number of GPUs that average.

        Args:
            model_output: `log_probs` and, where it was computed, `entropy`, as verl packs them.
            data: The micro-batch; `batch_num_tokens`, `global_batch_size` and `dp_size` say what
                the whole step holds and how many data-parallel ranks there are.
            dp_group: Not needed.

        Returns:
            The loss to call backward on, and metrics that add up over micro-batches and ranks.
        """
        log_prob = no_padding_2_padding(model_output["log_probs"], data).float()
        entropy = model_output.get("entropy")
        if entropy is not None:
            entropy = no_padding_2_padding(entropy, data).float()
        inputs = self._inputs(data, log_prob)
        mask = inputs["response_mask"]
        micro_batch = Extent(int(mask.sum()), mask.shape[0], mask.shape[1])
        # A step without any action has no loss, and nothing to divide by.
        tokens = max(1, int(data["batch_num_tokens"]))
        whole = Extent(tokens, int(data["global_batch_size"]), mask.shape[1])
        ranks = int(data["dp_size"])
        old = None if self.old_is_behaviour else inputs.get("old_log_probs")
        advantages, measured = weighted(
            self.correction,
            inputs.get("advantages"),
            inputs.get("rollout_log_probs"),
            old,
            log_prob,
            mask,
            whole.tokens,
        )
        if advantages is not None:
            inputs["advantages"] = advantages
        bonus = penalty = None
        if self.calculate_entropy and entropy is not None:
            bonus = self.entropy_loss_fn(
                entropy=entropy, action_mask=mask, loss_agg_mode=self.aggregation, **inputs
            )
        if self.use_kl_loss:
            penalty = self.kl_loss_fn.calculate_kl_loss(
                logprob=log_prob,
                ref_logprob=inputs["ref_log_prob"],
                response_mask=mask,
                loss_agg_mode=self.aggregation,
                old_logprob=inputs.get("old_log_probs"),
            )
        loss, metrics = summand(
            micro_batch,
            whole,
            self.policy_aggregation,
            self.aggregation,
            self.policy_loss_fn(logprob=log_prob, **inputs),
            bonus,
            penalty,
        )
        if entropy is not None:
            metrics["entropy"] = (entropy.detach() * mask).sum().item() / whole.tokens
        named = {
            f"actor/{name}": Metric(AggregationType.SUM, float(value) * ranks)
            for name, value in metrics.items()
        }
        for name, value in measured.items():
            largest = is_largest(name)
            kind = AggregationType.MAX if largest else AggregationType.SUM
            named[f"actor/{name}"] = Metric(kind, value if largest else value * ranks)
        named.update(self._agreement(inputs, log_prob.detach(), whole, ranks))
        # FSDP averages gradients over the ranks.
        return loss * ranks, named

    def _inputs(self, data: Any, log_prob: torch.Tensor) -> dict[str, torch.Tensor]:
        """The tensors that the losses read, under verl's names for them."""
        wanted = ["response_mask", *self.policy_loss_fn.select_keys]
        wanted += ["rollout_log_probs", "old_log_probs"]
        if self.use_kl_loss:
            wanted.append("ref_log_prob")
        there = set(data.keys())
        fields = [name for name in dict.fromkeys(wanted) if name in there]
        padded = data.select(*fields).to_padded_tensor()
        inputs = {name: padded[name] for name in fields}
        inputs["response_mask"] = inputs["response_mask"].bool()
        if self.fresh:
            inputs["old_log_probs"] = log_prob.detach()
        return inputs

    @staticmethod
    def _agreement(
        inputs: dict[str, torch.Tensor], log_prob: torch.Tensor, whole: Extent, ranks: int
    ) -> dict[str, Metric]:
        """How far the policy that sampled is from the one that is trained."""
        sampled = inputs.get("rollout_log_probs")
        if sampled is None:
            return {}
        mask = inputs["response_mask"]
        apart = (sampled.exp() - log_prob.exp())[mask].abs()
        furthest = apart.max().item() if apart.numel() else 0.0
        return {
            "actor/rollout_probs_diff_mean": Metric(
                AggregationType.SUM, apart.sum().item() / whole.tokens * ranks
            ),
            "actor/rollout_probs_diff_max": Metric(AggregationType.MAX, furthest),
        }
