"""Intervals, merging and smoothing against known values."""

import pytest

from rlagent.base.stats import merge_rows, series, smooth, wilson


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Newcombe 1998 (Statistics in Medicine 17:857), table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)],
)
def test_wilson_agrees_with_published_values(successes, trials, low, high):
    assert wilson(successes, trials) == pytest.approx((low, high), abs=5e-5)


def test_wilson_holds_its_share_at_both_ends():
    assert wilson(0, 5)[0] == 0.0
    assert wilson(5, 5)[1] == 1.0
    assert wilson(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="6 successes of 5"):
        wilson(6, 5)


def row(step, metrics, attempt=1, role="explorer"):
    return {"role": role, "step": step, "attempt": attempt, "time": 0.0, "metrics": metrics}


def test_rows_of_one_step_and_attempt_are_joined():
    merged = merge_rows([row(1, {"reward": 0.1}), row(1, {"eval": 0.5}), row(1, {"reward": 0.2})])
    assert [r["metrics"] for r in merged] == [{"reward": 0.2, "eval": 0.5}]


def test_what_a_resume_repeats_counts_once_and_what_it_undid_is_gone():
    first = [row(step, {"reward": 0.1}) for step in (1, 2, 3, 4)] + [row(0, {"eval": 0.3})]
    second = [row(step, {"reward": 0.9}, attempt=2) for step in (2, 3)]
    rewards = series(merge_rows(first + second), "reward")
    assert (rewards.steps, rewards.values) == ((1, 2, 3), (0.1, 0.9, 0.9))
    assert series(merge_rows(first + second), "eval").values == (0.3,)


def test_roles_have_their_own_steps():
    merged = merge_rows([row(1, {"a": 1.0}), row(1, {"a": 2.0}, role="trainer")])
    assert series(merged, "a", role="trainer").values == (2.0,)
    assert len(merged) == 2


def test_values_that_are_not_finite_leave_the_curve():
    assert series([row(1, {"a": float("nan")}), row(2, {"a": 1.0})], "a").steps == (2,)


def test_smoothing_keeps_constants_and_the_first_value():
    assert smooth([2.0, 2.0, 2.0]) == pytest.approx([2.0] * 3)
    assert smooth([1.0, 3.0], 0.0) == [1.0, 3.0]
    assert smooth([4.0, 0.0], 0.5) == pytest.approx([4.0, 4 / 3])
