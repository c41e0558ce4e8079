"""SAPO's policy loss with the gradient of its gate (arXiv:2511.20347).

Trinity 0.6.0 takes the gate itself for the weight of log p: 2 on-policy and more for likelier
tokens, where the paper's weight, the gate's derivative times the ratio, is 1 and fades.
"""

from typing import Any, Dict, Tuple

import torch
from trinity.algorithm.policy_loss_fn.sapo_policy_loss import SAPOPolicyLossFn
from trinity.algorithm.utils import aggregate_loss


class SAPOLoss(SAPOPolicyLossFn):
    """Trinity's SAPO, its arguments and metrics, with the loss of the paper, TRL and verl."""

    def __call__(  # type: ignore[no-untyped-def]
        self,
        logprob: torch.Tensor,
        old_logprob: torch.Tensor,
        action_mask: torch.Tensor,
        advantages: torch.Tensor,
        **kwargs: Any,
    ) -> Tuple[torch.Tensor, Dict[str, float]]:
        """The loss of a batch, and its metrics.

        Args:
            logprob: Of the current policy, shape (experiences, responses).
            old_logprob: Likewise, of the policy at the start of the update.
            action_mask: 1 at actions.
            advantages: Likewise.
        """
        with torch.no_grad():
            _, metrics = super().__call__(
                logprob=logprob,
                old_logprob=old_logprob,
                action_mask=action_mask,
                advantages=advantages,
            )
        ratio = torch.exp(torch.clamp(logprob - old_logprob, -20.0, 20.0))
        gains = self.soft_gate_function(ratio, advantages) * advantages
        loss = aggregate_loss(-gains, action_mask, loss_agg_mode=self.loss_agg_mode)
        return loss, {**metrics, "sapo_loss": loss.item()}
