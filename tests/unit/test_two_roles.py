"""The guesser is paid for its guesses, the chooser for its pick, and each sees what it may see."""

import asyncio
from types import SimpleNamespace

import pytest

from rlagent.config.algorithms import TAKES
from rlagent.workflows.two_roles import guess_and_choose
from tests.configured import configured

TASK = {"question": "7+5", "answer": "12"}


class Said:
    """A model that says what it is to say, and remembers what it was asked."""

    def __init__(self, *answers: str) -> None:
        self._answers = iter(answers)
        self.asked: list[tuple[str, str]] = []

    def as_role(self, role: str):
        async def answer(messages):
            self.asked.append((role, messages[-1]["content"]))
            return SimpleNamespace(content=[{"type": "text", "text": next(self._answers)}])

        return answer


@pytest.mark.parametrize(
    ("answers", "rewards", "metrics"),
    [
        (("12", "13", "A"), (0.5, 1.0), {"choice": 1.0}),
        (("12", "13", "B"), (0.5, 0.0), {"choice": 0.0}),
        (("12", "12", "b"), (1.0, 1.0), {}),
        (("12", "12", "neither"), (1.0, 0.0), {}),
        (("13", "it is 12", "B"), (0.0, 0.0), {}),
    ],
)
def test_each_role_earns_for_what_it_did(answers, rewards, metrics):
    found = asyncio.run(guess_and_choose(TASK, Said(*answers)))
    assert found == (dict(zip(("guesser", "chooser"), rewards, strict=True)), metrics)


def test_the_chooser_sees_the_guesses_and_the_guesser_sees_the_question():
    model = Said("12", "it is 13!", "A")
    asyncio.run(guess_and_choose(TASK, model))
    assert model.asked == [("guesser", "7+5"), ("guesser", "7+5"), ("chooser", "7+5 A 12 B 13")]


@pytest.mark.parametrize("preset", ["two_roles", "two_roles_qwen3"])
def test_a_rollout_succeeds_when_the_chooser_picked_a_right_guess(preset):
    config = configured(experiment=preset)
    assert len(TAKES[config.algorithm.name].shapes) == 3
    for guesser in (0.5, 1.0):
        assert (guesser + 1.0) / 2 >= config.workflow.success_reward
        assert (guesser + 0.0) / 2 < config.workflow.success_reward
