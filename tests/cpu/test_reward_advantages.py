"""Rewards by agent and by call become the advantages that are worked out by hand here.

Two rollouts of one task, three calls each: a guesser's, a chooser's, and a second of the guesser's
in the first rollout alone. Of two rewards that differ, the better one's advantage in GRPO is
1 / sqrt(2), the other one's the opposite.
"""

import asyncio
import logging

import pytest
import torch
from trinity.algorithm import ADVANTAGE_FN, ALGORITHM_TYPE
from trinity.common.config import AlgorithmConfig, Config, OperatorConfig
from trinity.common.experience import EID, Experience

from rlagent.backends.embedded.trainer.advantages import TrainerAdvantage
from rlagent.backends.embedded.trainer.step_data import StepData
from rlagent.base.rewards import rewards_of_calls
from rlagent.base.rollout_of import rollout_of
from rlagent.trinity.advantages import NoteAdvantages
from rlagent.trinity.grouping import AGENT, SHAPE, GroupCalls, add_grouping
from rlagent.trinity.shuffle import ShuffleRewards

HALF = 2**-0.5
LONG, SHORT = ["guesser", "chooser", "guesser"], ["guesser", "chooser"]


def rollout(run: int, given, agents=SHORT, discount=1.0, prompts=None) -> list[Experience]:
    """The experiences of a rollout, as the workflow's adapter hands them over."""
    rewards = rewards_of_calls(given, agents, "workflow f")
    prompts = prompts or [run * 10 + number for number in range(len(agents))]
    return [
        Experience(
            eid=EID(batch=1, task=0, run=run, step=number),
            tokens=torch.tensor([prompts[number], 2, 3]),
            prompt_length=1,
            logprobs=torch.zeros(2),
            action_mask=torch.tensor([1, 1]),
            reward=value,
            info={SHAPE: rewards.shape, AGENT: agents[number]},
        )
        for number, value in enumerate(rewards.returns(discount))
    ]


def grouped(name: str, exps: list[Experience], by="auto", discount=1.0) -> list[Experience]:
    return asyncio.run(GroupCalls(name, by, discount).process(exps))[0]


def advantages(name: str, exps: list[Experience], by="auto", discount=1.0, **args) -> dict:
    """By run and call, of an algorithm whose advantages the explorer works out."""
    function = ADVANTAGE_FN.get(ALGORITHM_TYPE.get(name).default_config()["advantage_fn"])
    made = function(**{**function.default_args(), **args}).process(
        grouped(name, exps, by, discount)
    )[0]
    found = {(rollout_of(exp)[1], exp.eid.step): exp.advantages[0].item() for exp in made}
    return pytest.approx(found, abs=1e-4)


def in_trainers(name: str, exps: list[Experience], by="auto") -> list[list[float]]:
    """Of an algorithm whose advantages a trainer works out: embedded, and verl's."""
    config = AlgorithmConfig(algorithm_type=name, **ALGORITHM_TYPE.get(name).default_config())
    config.kl_penalty_fn, config.kl_penalty_fn_args = "none", {}
    config.advantage_fn_args = {}
    exps = grouped(name, exps, by)
    data = StepData(exps)
    scores = torch.tensor([[0.0, exp.reward] for exp in exps])
    ones = torch.ones_like(scores)
    ready = {
        "token_level_scores": scores,
        "response_mask": ones,
        "attention_mask": ones,
        "responses": ones,
    }
    embedded, _ = TrainerAdvantage(config)(ready, {}, data.task_ids)

    from trinity.trainer.verl.utils import to_data_proto

    rows = to_data_proto(exps, 0, object(), logging.getLogger("test"))
    rows.batch["token_level_rewards"] = rows.batch["token_level_scores"]
    verl, _ = ADVANTAGE_FN.get(config.advantage_fn)()(rows)
    return [made[:, 0].tolist() for made in (embedded["advantages"], verl.batch["advantages"])]


# multi_step_grpo: what is compared is the return of each agent's first call.


def test_one_number_is_compared_once_per_rollout():
    exps = rollout(0, 1.0, LONG) + rollout(1, 0.0)
    assert advantages("multi_step_grpo", exps) == {
        (0, 0): HALF, (0, 1): HALF, (0, 2): HALF, (1, 0): -HALF, (1, 1): -HALF
    }  # fmt: skip


def test_rewards_by_agent_are_compared_agent_by_agent():
    exps = rollout(0, {"guesser": 1.0, "chooser": 0.0}, LONG)
    exps += rollout(1, {"guesser": 0.0, "chooser": 9.0})
    assert advantages("multi_step_grpo", exps) == {
        (0, 0): HALF, (0, 1): -HALF, (0, 2): HALF, (1, 0): -HALF, (1, 1): HALF
    }  # fmt: skip


def test_rewards_by_call_are_compared_turn_by_turn_and_a_turn_of_one_rollout_alone_is_left_out():
    # Guesser: returns 1 + 2 = 3 and 2 against 4; chooser: 5 against 1.
    exps = rollout(0, [1.0, 5.0, 2.0], LONG) + rollout(1, [4.0, 1.0])
    assert advantages("multi_step_grpo", exps) == {
        (0, 0): -HALF, (0, 1): HALF, (1, 0): HALF, (1, 1): -HALF
    }  # fmt: skip


def test_by_role_the_sum_of_an_agents_rewards_by_call_counts_for_all_its_calls():
    exps = rollout(0, [1.0, 5.0, 2.0], LONG) + rollout(1, [4.0, 1.0])
    assert advantages("multi_step_grpo", exps, "role") == {
        (0, 0): -HALF, (0, 1): HALF, (0, 2): -HALF, (1, 0): HALF, (1, 1): -HALF
    }  # fmt: skip


def test_a_discount_prefers_the_rollout_that_earns_the_same_sooner():
    # Returns of the first calls: 0.5 x 0.5 x 1 = 0.25 against 0.5.
    exps = rollout(0, 1.0, LONG, 0.5) + rollout(1, 1.0, discount=0.5)
    assert advantages("multi_step_grpo", exps, discount=0.5) == {
        (0, 0): -HALF, (0, 1): -HALF, (0, 2): -HALF, (1, 0): HALF, (1, 1): HALF
    }  # fmt: skip


def test_by_task_all_agents_of_all_rollouts_are_one_group():
    exps = rollout(0, {"guesser": 3.0, "chooser": 1.0})
    exps += rollout(1, {"guesser": 0.0, "chooser": 0.0})
    # Mean 1, standard deviation sqrt(2) of 3, 1, 0, 0.
    deviation = 2**0.5
    assert advantages("multi_step_grpo", exps, "task") == {
        (0, 0): 2 / deviation, (0, 1): 0.0, (1, 0): -1 / deviation, (1, 1): -1 / deviation
    }  # fmt: skip


def test_a_rollout_that_outgrew_its_model_stands_beside_those_with_rewards_by_agent():
    exps = rollout(0, {"guesser": 1.0, "chooser": 1.0}) + rollout(1, 0.0)
    assert advantages("multi_step_grpo", exps) == {
        (0, 0): HALF, (0, 1): HALF, (1, 0): -HALF, (1, 1): -HALF
    }  # fmt: skip


# grpo: each call counts with its own return.


def test_grpo_compares_the_discounted_return_of_each_call():
    # Returns 0.5, 1 against 0, 0; mean 0.375, standard deviation 0.4787.
    exps = rollout(0, 1.0, discount=0.5) + rollout(1, 0.0, discount=0.5)
    assert advantages("grpo", exps, discount=0.5) == {
        (0, 0): 0.2611, (0, 1): 1.3056, (1, 0): -0.7833, (1, 1): -0.7833
    }  # fmt: skip


def test_grpo_compares_turn_by_turn_where_asked():
    exps = rollout(0, 1.0, discount=0.5) + rollout(1, 0.0, discount=0.5)
    assert advantages("grpo", exps, "turn", 0.5) == {
        (0, 0): HALF, (0, 1): HALF, (1, 0): -HALF, (1, 1): -HALF
    }  # fmt: skip


# gigpo: A = (R - mean) + (return of the call - mean of those in the same state).


def test_gigpo_compares_rollouts_by_agent_and_calls_in_the_same_state():
    states = [7, 8]
    exps = rollout(0, [1.0, 2.0], [None, None], 0.5, states)
    exps += rollout(1, [0.0, 1.0], [None, None], 0.5, [7, 9])
    # Sums 3 and 1: +1, -1. State 7: returns 2 and 0.5, +0.75 and -0.75; 8 and 9 are met once.
    found = advantages("gigpo", exps, discount=0.5, gamma=0.5)
    assert found == {(0, 0): 1.75, (0, 1): 1.0, (1, 0): -1.75, (1, 1): -1.0}


def test_gigpo_takes_rewards_by_agent():
    exps = rollout(0, {"guesser": 1.0, "chooser": 0.0})
    exps += rollout(1, {"guesser": 0.0, "chooser": 1.0})
    assert advantages("gigpo", exps) == {
        (0, 0): 0.5, (0, 1): -0.5, (1, 0): -0.5, (1, 1): 0.5
    }  # fmt: skip


# rloo: A = R - mean of the others, worked out in the trainer.


def test_both_trainers_compare_an_agents_rewards_with_its_own():
    exps = rollout(0, {"guesser": 1.0, "chooser": 0.0})
    exps += rollout(1, {"guesser": 0.0, "chooser": 3.0})
    for found in in_trainers("rloo", exps):
        assert found == pytest.approx([1.0, -3.0, -1.0, 3.0])


def test_both_trainers_compare_turn_by_turn():
    exps = rollout(0, [1.0, 5.0], [None] * 2) + rollout(1, [4.0, 1.0], [None] * 2)
    # Returns 6, 5 against 5, 1.
    for found in in_trainers("rloo", exps):
        assert found == pytest.approx([1.0, 4.0, -1.0, -4.0])


# What stands around it.


def test_one_number_without_discount_leaves_groups_and_rewards_as_they_are():
    exps = rollout(0, 1.0, LONG) + rollout(1, 0.0)
    before = [(exp.eid.uid, exp.reward) for exp in exps]
    assert [(exp.eid.uid, exp.reward) for exp in grouped("grpo", exps)] == before


def test_the_lone_rollout_of_a_task_is_kept():
    exps = rollout(0, {"guesser": 1.0, "chooser": 0.0})
    assert len(grouped("asymre", exps)) == 2


def test_grouping_stands_between_what_permutes_rewards_and_what_leaves_groups_out():
    config = Config()
    config.algorithm.algorithm_type = "multi_step_grpo"
    names = ["rlagent.trinity.shuffle.ShuffleRewards", "reward_std_filter"]
    operators = [OperatorConfig(name=name) for name in names]
    config.data_processor.experience_pipeline.operators = operators
    made = [*names, "the algorithm's"]
    add_grouping(made, config, {"discount": 0.5})
    assert isinstance(made[1], GroupCalls)
    made.pop(1)
    assert made == [*names, "the algorithm's"]
    config.data_processor.experience_pipeline.operators = []
    made = ["the algorithm's"]
    add_grouping(made, config, {})
    assert isinstance(made[0], GroupCalls)


def test_advantages_are_noted_with_the_rollout_whatever_they_were_compared_with(tmp_path):
    noted = []

    class Store:
        def join(self, batch, rows) -> None:
            noted.extend(rows)

    exps = rollout(0, {"guesser": 3.0, "chooser": 1.0})
    exps += rollout(1, {"guesser": 0.0, "chooser": 0.0})
    for exp in grouped("multi_step_grpo", exps, "task"):
        exp.advantages = exp.action_mask * exp.reward
    asyncio.run(NoteAdvantages(Store()).process(exps))
    assert noted == [
        {"group": 0, "run": 0, "advantages": [3.0, 1.0]},
        {"group": 0, "run": 1, "advantages": [0.0, 0.0]},
    ]


def test_permuted_rewards_stay_with_their_agent():
    exps = rollout(0, {"guesser": 1.0, "chooser": 10.0}, LONG)
    exps += rollout(1, {"guesser": 2.0, "chooser": 20.0})
    seen = set()
    for seed in range(8):
        asyncio.run(ShuffleRewards(seed).process(exps))
        guesses, choices = ({exps[n].reward for n in of} for of in ((0, 2, 3), (1, 4)))
        assert exps[0].reward == exps[2].reward
        assert (guesses, choices) == ({1.0, 2.0}, {10.0, 20.0})
        seen.add((exps[0].reward, exps[1].reward))
    assert len(seen) > 1
