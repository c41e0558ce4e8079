"""Rewards by agent and by call of real rollouts: whose call is whose, and what is recorded."""

import functools
import math

import pytest
import random_model
from agentscope.agent import ReActAgent
from agentscope.formatter import OpenAIChatFormatter
from agentscope.message import Msg
from rolled import kept_rollout

from rlagent.backends.embedded.engine.service import Service, ServiceOptions
from rlagent.records.folder import RunFolder
from rlagent.trinity.workflow import RolloutError


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = random_model.save(tmp_path_factory.mktemp("model"))
    service = Service(ServiceOptions(str(folder), "random", 512, max_response_tokens=4))
    service.start()
    yield service
    service.stop()


@pytest.fixture
def rollout(service, tmp_path):
    """Runs one rollout of a function; returns its experiences."""
    return functools.partial(kept_rollout, service, tmp_path, is_eval=False)


def row(tmp_path) -> dict:
    return list(RunFolder(tmp_path).rollouts.read())[-1]


async def ask(model):
    await model([{"role": "user", "content": "hello"}])


async def play(model, rewards):
    guesser, chooser = model.as_role("guesser"), model.as_role("chooser")
    for player in (guesser, chooser, guesser):
        await ask(player)
    return rewards


def test_each_agents_calls_earn_its_reward_which_is_recorded_where_it_fell(rollout, tmp_path):
    async def two_agents(task, model):
        return await play(model, {"guesser": 1.0, "chooser": 0.0}), {"rounds": 3}

    made = rollout(two_agents, algorithm="multi_step_grpo")
    assert [exp.reward for exp in made] == [1.0, 0.0, 1.0]
    assert [exp.info["agent"] for exp in made] == ["guesser", "chooser", "guesser"]
    found = made[-1].metrics
    names = ("reward", "reward/guesser", "reward/chooser", "success", "rounds")
    assert [found[name] for name in names] == [0.5, 1.0, 0.0, 0.0, 3.0]
    kept = row(tmp_path)
    assert kept["reward"] == 0.5
    assert [(call["agent"], call.get("reward")) for call in kept["calls"]] == [
        ("guesser", None), ("chooser", 0.0), ("guesser", 1.0)
    ]  # fmt: skip


def test_an_agent_of_agentscope_earns_by_its_name(rollout):
    async def two_agents(task, model):
        for name in ("guesser", "chooser"):
            agent = ReActAgent(name, "Say a word.", model, OpenAIChatFormatter(), max_iters=1)
            agent.set_console_output_enabled(False)
            await agent.reply(Msg("user", task["question"], "user"))
        return {"guesser": 1.0, "chooser": 2.0}

    made = rollout(two_agents)
    earned = {exp.info["agent"]: exp.reward for exp in made}
    assert earned == {"guesser": 1.0, "chooser": 2.0}


def test_rewards_by_call_are_discounted_over_turns(rollout, tmp_path):
    async def one_agent(task, model):
        for _ in range(3):
            await ask(model)
        return [1.0, 0.0, 4.0]

    made = rollout(one_agent, discount=0.5)
    assert [exp.reward for exp in made] == [2.0, 2.0, 4.0]
    assert made[-1].metrics["reward"] == 5.0
    assert [call["reward"] for call in row(tmp_path)["calls"]] == [1.0, 0.0, 4.0]


def test_a_judge_may_give_rewards_by_agent_too(rollout):
    async def two_agents(task, model):
        from agentscope.tuner import WorkflowOutput

        return WorkflowOutput(response=await play(model, "said"))

    def judge(task, response):
        return {"guesser": 1.0, "chooser": 3.0}, {"agreed": 0.0}

    made = rollout(two_agents, judge=judge)
    assert [exp.reward for exp in made] == [1.0, 3.0, 1.0]
    assert made[-1].metrics["agreed"] == 0.0


def test_the_same_seed_draws_another_answer_for_each_call_whoever_makes_it(rollout, tmp_path):
    async def two_agents(task, model):
        return await play(model, {"guesser": 0.0, "chooser": 0.0})

    made = rollout(two_agents)
    answers = {tuple(exp.tokens[exp.prompt_length :].tolist()) for exp in made}
    assert len(answers) > 1


@pytest.mark.parametrize(
    ("rewards", "said"),
    [
        ([1.0], "returned 1 rewards for 3 calls"),
        ({"guesser": 1.0, "choser": 0.0}, "did you mean 'chooser'?"),
        ({"guesser": math.nan, "chooser": 0.0}, "it must be finite"),
    ],
)
def test_a_reward_that_does_not_fit_fails_its_rollout_by_name(rollout, tmp_path, rewards, said):
    async def two_agents(task, model):
        return await play(model, rewards)

    with pytest.raises(RolloutError, match="WorkflowResultError: workflow two_agents"):
        rollout(two_agents)
    kept = row(tmp_path)
    assert said in kept["error"]
    assert (kept["reward"], len(kept["calls"])) == (None, 3)


def test_what_the_algorithm_cannot_take_fails_the_rollout_that_is_trained_on(rollout):
    async def one_agent(task, model):
        await ask(model)
        return [1.0]

    with pytest.raises(RolloutError, match=r"algorithm\.name=raft takes one number or rewards by"):
        rollout(one_agent, algorithm="raft")
    assert len(rollout(one_agent, is_eval=True, algorithm="raft")) == 1
