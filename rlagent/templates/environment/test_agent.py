"""One rollout of the agent in its world, with a scripted model in place of the trained one."""

import asyncio
from types import SimpleNamespace

import pytest

from agent import play


def rollout(task: dict, texts: list[str]) -> float:
    """Return the reward of an agent whose model says these texts, one each turn."""
    left = iter(texts)

    async def model(messages: list[dict]) -> SimpleNamespace:
        return SimpleNamespace(content=[{"type": "text", "text": next(left)}])

    return asyncio.run(play(task, model))


@pytest.mark.parametrize(
    ("texts", "reward"),
    [(["5", "It is 7."], 1.0), (["1", "no idea", "3", "4"], 0.0)],
)
def test_the_right_guess_within_four_earns_one(texts, reward):
    assert rollout({"number": 7}, texts) == reward
