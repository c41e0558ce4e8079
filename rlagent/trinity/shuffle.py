"""A control experiment: rewards are permuted among the rollouts of a step."""

import random

from trinity.buffer.operators.experience_operator import ExperienceOperatorV1
from trinity.common.experience import Experience


class ShuffleRewards(ExperienceOperatorV1):
    """Gives each rollout the reward of another one of the same step.

    The distribution of rewards stays the same, so that steps are as large as before, but nothing
    that the model does has to do with what it earns.
    """

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)

    async def process(self, exps: list[Experience]) -> tuple[list[Experience], dict]:
        """Permute rewards between rollouts; the experiences of one rollout stay equal."""
        rewards: dict[str, float] = {exp.eid.rid: exp.reward for exp in exps}
        values = list(rewards.values())
        self._random.shuffle(values)
        dealt = dict(zip(rewards, values, strict=True))
        for exp in exps:
            exp.reward = dealt[exp.eid.rid]
        return exps, {}
