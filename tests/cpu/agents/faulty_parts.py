"""Parts of Trinity that break in the middle of a run, named by dotted path in an override."""

from trinity.algorithm.policy_loss_fn.ppo_policy_loss import PPOPolicyLossFn
from trinity.buffer.operators.experience_operator import ExperienceOperatorV1


class BreaksInTraining(PPOPolicyLossFn):
    """A loss that fails when it is first computed."""

    def __call__(self, logprob, old_logprob, action_mask, advantages, **kwargs):
        """Fail."""
        raise ArithmeticError("the loss cannot be computed")


class BreaksInExploring(ExperienceOperatorV1):
    """An experience operator that fails on the first step."""

    async def process(self, exps):
        """Fail."""
        raise LookupError("the experiences cannot be processed")
