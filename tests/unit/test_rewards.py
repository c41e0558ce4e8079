"""A workflow's reward may be one number, a dict by agent, or a list by call; the rest is named."""

import math

import pytest

from rlagent.base.measures import own_name, rewards_of
from rlagent.base.rewards import WorkflowResultError, rewards_of_calls
from rlagent.config.algorithms import GROUPS, reward_problems, takes
from tests.configured import configured

# A guesser acts twice, a chooser between and after: calls 0, 2 and 1, 3.
AGENTS = ["guesser", "chooser", "guesser", "chooser"]


def returns(given, agents=AGENTS, discount=1.0):
    return rewards_of_calls(given, agents, "workflow f").returns(discount)


def test_a_number_is_what_every_call_of_the_rollout_earns():
    assert returns(2.0) == [2.0, 2.0, 2.0, 2.0]


def test_a_number_is_discounted_over_the_calls_of_the_rollout():
    assert returns(2.0, discount=0.5) == [0.25, 0.5, 1.0, 2.0]


def test_the_reward_of_an_agent_is_what_its_own_calls_earn():
    assert returns({"guesser": 1.0, "chooser": -1.0}) == [1.0, -1.0, 1.0, -1.0]


def test_the_reward_of_an_agent_is_discounted_over_its_own_calls():
    assert returns({"guesser": 1.0, "chooser": 4.0}, discount=0.5) == [0.5, 2.0, 1.0, 4.0]


def test_a_call_earns_what_its_agent_gets_from_it_on():
    assert returns([1.0, 2.0, 3.0, 4.0]) == [4.0, 6.0, 3.0, 4.0]
    assert returns([1.0, 2.0, 3.0, 4.0], discount=0.5) == [2.5, 4.0, 3.0, 4.0]


def test_calls_without_an_agents_name_are_of_one_agent():
    assert returns([1, 0, 2], [None] * 3, 0.5) == [1.5, 1.0, 2.0]


def test_the_reward_of_the_rollout_is_the_mean_of_its_agents_or_the_sum_of_its_calls():
    assert rewards_of_calls({"guesser": 1, "chooser": 0}, AGENTS, "f").total == 0.5
    assert rewards_of_calls([1, 2, 3, 4], AGENTS, "f").total == 10
    assert rewards_of_calls([1, 2, 3, 4], AGENTS, "f").by_agent == {"guesser": 4, "chooser": 6}
    assert rewards_of_calls(3, AGENTS, "f").by_agent == {}


def test_a_reward_stands_where_it_fell():
    assert rewards_of_calls(3, AGENTS, "f").fell == [None, None, None, 3]
    by_agent = rewards_of_calls({"guesser": 1, "chooser": 0}, AGENTS, "f")
    assert by_agent.fell == [None, None, 1, 0]


@pytest.mark.parametrize(
    ("given", "agents", "said"),
    [
        ([1.0], AGENTS, "returned 1 rewards for 4 calls"),
        ([], AGENTS, "returned 0 rewards for 4 calls"),
        ([1, 2, math.nan, 4], AGENTS, "as the reward of call 3 nan; it must be finite"),
        ([1, 2, "x", 4], AGENTS, "returned str, expected a number as the reward of call 3"),
        ({"guesser": math.inf, "chooser": 1}, AGENTS, "as the reward of 'guesser' inf"),
        ({"guesser": None, "chooser": 1}, AGENTS, "a number as the reward of 'guesser'"),
        ({"guesser": 1, "choser": 1}, AGENTS, "did you mean 'chooser'?"),
        (
            {"guesser": 1, "chooser": 1},
            ["guesser"],
            "rewards 'chooser', which made no call of the model; agents that made calls: 'guesser'",
        ),
        ({"guesser": 1}, AGENTS, "no reward of 'chooser', which made 2 calls"),
        ({"guesser": 1}, ["guesser", None], "1 of 2 calls have none: call the model through"),
        ({}, AGENTS, "an empty dict"),
        (math.nan, AGENTS, "returned the reward nan; it must be finite"),
        ("high", AGENTS, "returned str, expected a number, a dict of numbers by agent"),
        ((1.0, 2.0), AGENTS, "returned tuple, expected a number"),
    ],
)
def test_what_does_not_fit_the_calls_is_named(given, agents, said):
    with pytest.raises(WorkflowResultError) as raised:
        rewards_of_calls(given, agents, "workflow f")
    assert said in str(raised.value)
    assert str(raised.value).startswith("workflow f ")


def test_a_group_of_several_agents_differs_when_the_rewards_of_one_of_them_do():
    zero_sum = [
        {"reward": 0.5, "reward/a": 1.0, "reward/b": 0.0},
        {"reward": 0.5, "reward/a": 0.0, "reward/b": 1.0},
    ]
    assert rewards_of(zero_sum) == [1.0, 0.0]
    assert rewards_of([{"reward": 1.0}, {"success": 0.0}]) == [1.0]
    assert rewards_of([{"turns": 2.0, "reward": 1.0}, {"turns": 9.0, "reward": 1.0}]) == [1.0, 1.0]
    assert rewards_of([]) == []


def test_a_workflows_own_metric_cannot_take_the_name_of_an_agents_reward():
    assert own_name("reward/guesser") == "workflow/reward/guesser"


@pytest.mark.parametrize(
    ("name", "group_by", "discount", "said"),
    [
        ("gigpo", "turn", 1.0, ["gigpo compares by task, role"]),
        ("topr", "role", 1.0, ["topr compares no groups"]),
        ("raft", "auto", 0.9, ["raft takes each reward as it is"]),
        ("raft", "role", 0.9, ["compares no groups", "takes each reward as it is"]),
        ("multi_step_grpo", "turn", 0.9, []),
        ("grpo", "role", 0.0, []),
        ("grpo", "turns", 1.0, []),
    ],
)
def test_what_an_algorithm_cannot_take_is_refused_before_anything_starts(
    name, group_by, discount, said
):
    found = reward_problems(name, group_by, discount, {})
    assert [problem.message for problem in found] == [
        next(problem.message for problem in found if text in problem.message) for text in said
    ]
    assert len(found) == len(said)


def test_the_discount_of_gigpo_is_said_once():
    assert reward_problems("gigpo", "auto", 0.9, {"gamma": 0.9}) == []
    (problem,) = reward_problems("gigpo", "auto", 0.9, {"gamma": 0.5})
    assert (problem.key, problem.value) == ("algorithm.advantage_args.gamma", 0.5)


def test_auto_groups_are_those_that_the_algorithm_takes():
    assert configured("algorithm=gigpo").algorithm.group_by == "auto"
    for name in ("multi_step_grpo", "rloo", "rec"):
        assert takes(name).groups == GROUPS
