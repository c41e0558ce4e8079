"""A control experiment: rewards are permuted among the rollouts of a step."""

import random
from collections import defaultdict

from trinity.buffer.operators.experience_operator import ExperienceOperatorV1
from trinity.common.experience import Experience

from rlagent.trinity.grouping import agent_of, earns_alone


class ShuffleRewards(ExperienceOperatorV1):
    """Gives each rollout the reward of another one of the same step; of several agents with rewards
    of their own, each that of the same agent.

    The distribution of rewards stays the same, so that steps are as large as before, but nothing
    that the model does has to do with what it earns.
    """

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)

    async def process(self, exps: list[Experience]) -> tuple[list[Experience], dict]:
        """Permute rewards between rollouts, those of all calls together: the last one dealt is also
        that of further calls."""
        earned: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for exp in exps:
            earned[_owner(exp)][exp.eid.rid].append(float(exp.reward or 0.0))
        for of_agent in earned.values():
            dealt = list(of_agent.values())
            self._random.shuffle(dealt)
            of_agent.update(zip(of_agent, dealt, strict=True))
        turns: dict[tuple[str, str], int] = defaultdict(int)
        for exp in exps:
            owner = _owner(exp)
            rewards = earned[owner][exp.eid.rid]
            exp.reward = rewards[min(turns[owner, exp.eid.rid], len(rewards) - 1)]
            turns[owner, exp.eid.rid] += 1
        return exps, {}


def _owner(exp: Experience) -> str:
    return agent_of(exp) if earns_alone(exp) else ""
