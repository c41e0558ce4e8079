"""Tasks of reasoning-gym by name: seeded, apart from the held-out ones, scored by its verifiers."""

import asyncio
from types import SimpleNamespace

import pytest

from rlagent.base.errors import ConfigError
from rlagent.workflows import reasoning_gym_tasks
from rlagent.workflows.reasoning_gym_tasks import score, tasks

pytest.importorskip("reasoning_gym")

EASY = {
    "chain_sum": {"weight": 3, "min_terms": 2, "max_terms": 2, "max_digits": 1},
    "spell_backward": 1,
}


def made(split, **arguments):
    return list(tasks(split, **{"tasks": EASY, "train": 300, "test": 15, **arguments}))


def test_the_same_seed_draws_the_same_tasks_and_another_one_others():
    assert made("train") == made("train")
    assert made("train") != made("train", seed=1)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_question_is_trained_on_and_held_out_whatever_the_seed(seed):
    training = {row["question"] for row in made("train", seed=seed)}
    held_out = [row["question"] for row in made("test")]
    assert not training & set(held_out)
    assert len(set(held_out)) == len(held_out) == 15


def test_tasks_come_by_their_weights():
    names = [row["task"] for row in made("train", train=2000)]
    assert names.count("chain_sum") / len(names) == pytest.approx(0.75, abs=0.05)


def test_levels_come_one_after_the_other_and_get_harder():
    rows = made("train", tasks={"chain_sum": 1}, levels=[0, 3], train=40)
    assert [row["level"] for row in rows] == [0] * 20 + [3] * 20
    easy, hard = rows[0]["config"], rows[-1]["config"]
    assert hard.get("max_terms", 6) > easy["max_terms"]


def test_the_verifier_of_the_package_scores_the_task_that_the_row_names():
    for row in made("test"):
        assert score(row, row["answer"]) == 1
        assert score(row, "no answer") < 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"tasks": {"chain_sun": 1}}, "is no task of reasoning-gym; did you mean chain_sum"),
        ({"tasks": {"gcd": 0}}, "dataset.args.tasks.gcd=0: must be a weight above 0"),
        ({"tasks": {"gcd": {"max_valu": 3}}}, "gcd.max_valu=3: is no field of it; did you mean"),
        ({"tasks": {"gcd": {"seed": 3}}}, "gcd.seed=3: is no field of it"),
        ({"tasks": {"gcd": {"min_value": 0}}}, "refused by reasoning-gym: min_value must be"),
        ({"tasks": {}}, "must name tasks"),
        ({"train": 0}, "dataset.args.train=0: must be a whole number"),
        ({"levels": [-1]}, "dataset.args.levels"),
        ({"tasks": {"gcd": {"min_value": 2, "max_value": 3}}, "test": 50}, "different questions"),
    ],
)  # fmt: skip
def test_what_cannot_be_made_is_named_with_what_there_is(arguments, said):
    with pytest.raises(ConfigError) as raised:
        made("test", **arguments)
    assert said in str(raised.value)


def test_a_package_that_is_missing_is_said_before_anything_starts(monkeypatch):
    assert reasoning_gym_tasks.lack() == ""
    monkeypatch.setattr(reasoning_gym_tasks.importlib.util, "find_spec", lambda name: None)
    assert "pip install 'rlagent[reasoning-gym]'" in reasoning_gym_tasks.lack()


@pytest.mark.parametrize(
    ("said", "answered"), [("<answer>{}</answer>", 1.0), ("{}", 0.0), ("<answer>{}", 0.0)]
)
def test_one_turn_is_rewarded_for_what_stands_between_the_tags(said, answered):
    from rlagent.workflows.reasoning_gym import solve

    (row, *_) = made("test", tasks={"chain_sum": 1})

    async def model(messages):
        assert messages[-1]["content"] == row["question"]
        text = {"type": "text", "text": said.format(row["answer"])}
        return SimpleNamespace(content=[text])

    output = asyncio.run(solve(row, model))
    assert output.reward == answered
    assert output.metrics == {"answered": answered, "solved/chain_sum": answered}
