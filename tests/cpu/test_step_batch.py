"""Padding a step to a multiple of the ranks, and getting its rows back."""

import pytest
import torch
from verl_ranks import rows_of

from rlagent.backends.verl.step_batch import StepBatch, pad_to_multiple
from rlagent.upstream.verl import _pad_input, _unpad_input


@pytest.mark.parametrize(("count", "ranks", "missing"), [(575, 2, 1), (575, 4, 1), (3, 4, 1)])
def test_padding_rows_have_two_tokens_and_no_action(count, ranks, missing):
    rows = rows_of(count)
    padded = pad_to_multiple(rows, ranks)
    assert len(padded) == count + missing
    extra = {name: column[count:] for name, column in padded.batch.items()}
    assert extra["attention_mask"].sum(-1).tolist() == [2] * missing
    assert not extra["response_mask"].any()
    assert not extra["advantages"].any()
    for name, column in rows.batch.items():
        assert torch.equal(padded.batch[name][:count], column)


def test_rows_come_back_in_their_order_with_what_was_computed():
    rows = rows_of(7)
    before = rows.batch["input_ids"].clone()
    step = StepBatch(rows, 4)
    step.spread.batch["computed"] = step.spread.batch["input_ids"].sum(-1)
    found = step.take_back(step.spread)
    assert torch.equal(found.batch["input_ids"], before)
    assert torch.equal(found.batch["computed"], before.sum(-1))


def test_each_rank_gets_about_the_same_number_of_tokens():
    spread = StepBatch(rows_of(575), 4).spread
    tokens = spread.batch["attention_mask"].sum(-1).view(4, -1).sum(-1)
    assert tokens.max() - tokens.min() < 0.02 * tokens.max()


def test_packing_and_unpacking_are_inverse():
    mask = torch.tensor([[0, 1, 1], [1, 1, 1], [1, 0, 0]])
    values = torch.randn(3, 3, 2) * mask.unsqueeze(-1)
    packed, indices, starts, longest, lengths = _unpad_input(values, mask)
    assert starts.tolist() == [0, 2, 5, 6]
    assert (longest, lengths.tolist()) == (3, [2, 3, 1])
    assert torch.equal(_pad_input(packed, indices, 3, 3), values)
