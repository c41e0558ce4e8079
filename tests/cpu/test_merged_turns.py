"""Turns of a rollout that go on from each other are trained on as one sequence, to the same end."""

import asyncio

import parity
import pytest
import torch
import verl_trainer
from trinity.common.experience import EID, Experience

from rlagent.backends.verl.merged import merge_turns
from rlagent.trinity.grouping import GroupCalls

PROMPT, FIRST, TOOL, SECOND = [5, 6, 7], [8, 9], [10, 11, 12], [13, 14, 15]


def turn(prompt: list[int], response: list[int], step: int, run: int = 0, **changed) -> Experience:
    count = len(response)
    return Experience(
        eid=EID(batch=1, task=0, run=run, step=step),
        tokens=torch.tensor(prompt + response),
        prompt_length=len(prompt),
        reward=1.0,
        logprobs=-torch.arange(1.0, count + 1) / 10 - step,
        action_mask=torch.tensor([True] * count),
        advantages=torch.full((count,), 0.5 + run),
        returns=torch.zeros(count),
        **changed,
    )


def two_turns(run: int = 0) -> list[Experience]:
    return [turn(PROMPT, FIRST, 0, run), turn([*PROMPT, *FIRST, *TOOL], SECOND, 1, run)]


def test_a_turn_goes_on_from_the_one_before_and_no_number_is_lost() -> None:
    merged = merge_turns(two_turns())
    (one,) = merged.sequences
    assert one.tokens.tolist() == [*PROMPT, *FIRST, *TOOL, *SECOND]
    assert one.prompt_length == len(PROMPT)
    assert one.action_mask.tolist() == [True] * 2 + [False] * 3 + [True] * 3
    assert one.logprobs.tolist() == pytest.approx([-0.1, -0.2, 0, 0, 0, -1.1, -1.2, -1.3])
    assert one.advantages.tolist() == [0.5, 0.5, 0, 0, 0, 0.5, 0.5, 0.5]
    assert (merged.saved, merged.apart) == (len(PROMPT + FIRST), 0)


def test_other_rollouts_and_rewritten_histories_stay_apart() -> None:
    thinking = [turn(PROMPT, FIRST, 0, 1), turn([*PROMPT, 9, *TOOL], SECOND, 1, 1)]
    merged = merge_turns([*two_turns(0), *thinking])
    assert sorted(len(each.tokens) for each in merged.sequences) == [5, 10, 11]
    assert merged.apart == 1


def test_two_agents_that_take_turns_go_on_from_their_own() -> None:
    other = [turn([40, 41], [42], 1), turn([40, 41, 42, 43], [44], 3)]
    mine = two_turns()
    mine[1].eid.step = 2
    merged = merge_turns([mine[0], other[0], mine[1], other[1]])
    found = [each.tokens.tolist() for each in merged.sequences]
    assert found == [[*PROMPT, *FIRST, *TOOL, *SECOND], [40, 41, 42, 43, 44]]


def test_turns_that_are_compared_with_those_of_other_rollouts_go_on_in_their_own() -> None:
    given = [each for run in range(2) for each in two_turns(run)]
    grouping = GroupCalls("multi_step_grpo", "turn")
    kept, _ = asyncio.run(grouping.process(given))
    assert len({each.eid.task for each in kept}) == 2
    merged = merge_turns(kept)
    assert [len(each.tokens) for each in merged.sequences] == [11, 11]
    assert merged.saved == 2 * len(PROMPT + FIRST)


def test_what_lacks_a_number_for_each_token_stays_apart() -> None:
    first, second = two_turns()
    first.advantages = None
    assert len(merge_turns([first, second]).sequences) == 2


@pytest.mark.parametrize(
    ("overrides", "merges"),
    [
        ((), True),
        (("algorithm=cispo",), True),
        (("algorithm=gspo",), False),
        (("algorithm.off_policy=seq_tis",), False),
    ],
)
@pytest.mark.slow
def test_the_weights_after_a_step_are_those_without_merging(
    tmp_path, monkeypatch, overrides, merges
) -> None:
    config = verl_trainer.trinity_config(*overrides, "algorithm.lr=1e-3", "hardware.attention=sdpa")
    found = []
    with parity.verl_on_cpu(tmp_path, monkeypatch):
        for off in (False, True):
            trainer, engine = verl_trainer.step_trainer(config)
            assert trainer._merges is merges
            trainer._merges = merges and not off
            given = [each for run in range(3) for each in two_turns(run)]
            metrics = asyncio.run(trainer.train_step(given))
            assert metrics.get("tokens/merged") == (15 if trainer._merges else None)
            weights = [p.detach().clone() for p in engine.module.parameters()]
            found.append((weights, metrics["actor/grad_norm"], metrics["actor/final_loss"]))
    (one, norm, loss), (other, other_norm, other_loss) = found
    assert norm == pytest.approx(other_norm, rel=1e-5)
    assert loss == pytest.approx(other_loss, rel=1e-5)
    for left, right in zip(one, other, strict=True):
        # Of each matrix as a whole: Adam makes a step of the rate of a gradient of nearly nothing.
        assert torch.dist(left, right) <= 1e-5 * torch.linalg.norm(right)
