"""Which rows run, and how they are cut into micro-batches. No torch."""

import numpy as np
import pytest

from rlagent.backends.embedded.micro_batches import (
    make_sample,
    merge_rows,
    plan_micro_batches,
    share_out,
)


def sample(prompt, response, mask=None):
    tokens = np.array([*prompt, *response])
    return make_sample(tokens, len(prompt), np.ones(len(response)) if mask is None else mask)


def random_samples(seed):
    random = np.random.default_rng(seed)
    beginning = random.integers(0, 9, 30).tolist()
    made = []
    for _ in range(20):
        conversation = beginning[: int(random.integers(5, 30))] + random.integers(0, 9, 3).tolist()
        for _ in range(int(random.integers(1, 4))):
            response = random.integers(0, 9, int(random.integers(1, 12))).tolist()
            made.append(sample(conversation, response))
            conversation = [*conversation, *response, 1, 2]
    return made


def test_the_calls_of_one_conversation_need_one_row():
    calls = [sample([1, 2, 3], [4, 5]), sample([1, 2, 3, 4, 5, 6], [7, 8])]
    (row,) = merge_rows(calls, [0, 1])
    assert row.tokens.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert row.start == 2
    assert sorted(row.members) == [0, 1]


def test_a_call_that_continues_otherwise_needs_its_own_row():
    calls = [sample([1, 2, 3], [4, 8, 9]), sample([1, 2, 3, 4, 5, 6], [7, 8])]
    assert len(merge_rows(calls, [0, 1])) == 2


def test_the_last_action_is_a_target_only_and_does_not_hinder_sharing():
    calls = [sample([1, 2], [3, 9]), sample([1, 2, 3, 4], [5, 6])]
    assert len(merge_rows(calls, [0, 1])) == 1


def test_equal_experiences_need_one_row():
    assert len(merge_rows([sample([1, 2], [3])] * 4, range(4))) == 1


def test_without_sharing_every_sample_has_its_row():
    assert len(merge_rows([sample([1, 2], [3])] * 4, range(4), share=False)) == 4


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("budget", [1, 60, 300, 100_000])
def test_every_action_is_read_once_from_the_right_place(seed, budget):
    samples = random_samples(seed)
    batches = plan_micro_batches(merge_rows(samples, range(len(samples))), budget)
    assert sorted(m for batch in batches for m in batch.members) == list(range(len(samples)))
    for batch in batches:
        longest = max(len(row.tokens) for each in batches for row in each.rows)
        assert batch.computed_tokens <= max(budget, 2 * longest)
        first = batch.rows[0].tokens[: batch.prefix].tolist()
        for row in batch.rows:
            assert row.tokens[: batch.prefix].tolist() == first
            for member in row.members:
                one = samples[member]
                assert one.positions[0] >= batch.prefix
                last = one.positions[-1]
                assert row.tokens[: last + 1].tolist() == one.tokens[: last + 1].tolist()


def test_a_long_common_beginning_runs_once():
    random = np.random.default_rng(0)
    samples = [sample([7] * 500, random.integers(0, 9, 20).tolist()) for _ in range(8)]
    (batch,) = plan_micro_batches(merge_rows(samples, range(8)), 4096)
    assert batch.prefix == 499
    assert batch.computed_tokens == 499 + 8 * 20


def test_a_beginning_longer_than_the_budget_is_still_shared():
    random = np.random.default_rng(0)
    samples = [sample([7] * 500, random.integers(0, 9, 20).tolist()) for _ in range(4)]
    (batch,) = plan_micro_batches(merge_rows(samples, range(4)), token_budget=256)
    assert batch.prefix == 499


def test_models_that_cannot_share_a_beginning_run_whole_rows():
    samples = [sample([7] * 500, [i, i]) for i in range(4)]
    plan = plan_micro_batches(merge_rows(samples, range(4)), 4096, share_prefix=False)
    assert all(batch.prefix == 0 for batch in plan)


def test_rows_of_like_length_run_together():
    random = np.random.default_rng(0)
    lengths = [10, 900] * 8
    samples = [sample([i + 10], random.integers(0, 9, n).tolist()) for i, n in enumerate(lengths)]
    plan = plan_micro_batches(merge_rows(samples, range(16)), 4096)
    padding = sum(batch.computed_tokens for batch in plan) / sum(len(s.tokens) for s in samples)
    assert padding < 1.05


@pytest.mark.parametrize("lanes", [1, 2, 3, 100])
def test_lanes_get_all_micro_batches_and_like_loads(lanes):
    samples = random_samples(0)
    batches = plan_micro_batches(merge_rows(samples, range(len(samples))), 100)
    shares = share_out(batches, lanes)
    assert sorted(map(id, batches)) == sorted(id(b) for share in shares for b in share)
    assert len(shares) == min(lanes, len(batches))
    loads = [sum(b.computed_tokens for b in share) for share in shares]
    largest = max(b.computed_tokens for b in batches)
    assert max(loads) - min(loads) <= largest + 64 * len(batches)


def test_a_mask_of_another_length_is_refused():
    with pytest.raises(ValueError, match="action mask of 3 for a response of 2"):
        make_sample(np.array([1, 2, 3]), 1, np.ones(3))


def test_a_response_needs_a_token_before_it():
    with pytest.raises(ValueError, match="prompt_length=0"):
        make_sample(np.array([1, 2, 3]), 0, np.ones(3))
