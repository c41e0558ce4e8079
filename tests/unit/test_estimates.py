"""What several rollouts of each task say, against numbers worked by hand or from papers."""

import itertools
import math

import pytest

from rlagent.base.estimates import (
    clustered_interval,
    majority_at,
    mcnemar,
    paired,
    pass_at,
    powers_up_to,
)
from rlagent.base.stats import wilson


def test_pass_at_k_is_the_share_of_all_choices_of_k_rollouts_with_a_success() -> None:
    for samples, successes in ((5, 0), (5, 2), (6, 5), (4, 4)):
        outcomes = [True] * successes + [False] * (samples - successes)
        for k in range(1, samples + 1):
            choices = list(itertools.combinations(outcomes, k))
            share = sum(any(choice) for choice in choices) / len(choices)
            assert pass_at(k, samples, successes) == pytest.approx(share)


def test_pass_at_more_rollouts_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="pass@5"):
        pass_at(5, 4, 1)


def test_the_ks_are_powers_of_two_and_the_number_itself() -> None:
    assert powers_up_to(1) == [1]
    assert powers_up_to(5) == [1, 2, 4, 5]


def test_a_majority_is_right_by_its_most_frequent_answer() -> None:
    answers, right = ["4", "5", "5", "4", "4", "6"], [True, False, False, True, True, False]
    # "5" leads the first three, "4" the other three.
    assert majority_at(3, answers, right) == 0.5
    # All six: "4" three times.
    assert majority_at(6, answers, right) == 1.0
    # Of the pairs 4 5, 5 4, 4 6 each is a tie of a right and a wrong answer.
    assert majority_at(2, answers, right) == 0.5


def test_a_rollout_without_an_answer_has_no_vote_and_a_group_without_any_loses_it() -> None:
    assert majority_at(3, [None, None, "4"], [False, False, True]) == 1.0
    assert majority_at(2, [None, None], [False, False]) == 0.0


def test_with_one_rollout_of_each_task_the_interval_is_wilsons() -> None:
    assert clustered_interval([(1, 1)] * 30 + [(0, 1)] * 70) == pytest.approx(wilson(30, 100))


def test_rollouts_that_agree_within_each_task_count_as_one() -> None:
    # Eight rollouts that are all equal say what one says; (n-1)/n of it is the sample variance.
    low, high = clustered_interval([(8, 8)] * 30 + [(0, 8)] * 70)
    assert (low, high) == pytest.approx(wilson(30, 100))


def test_rollouts_that_differ_within_a_task_as_chance_has_it_narrow_the_interval() -> None:
    # Means 1/4 and 3/4 by turns: their variance is a quarter of that of single rollouts.
    low, high = clustered_interval([(1, 4), (3, 4)] * 50)
    variance = 0.25**2 * 100 / 99
    trials = 0.25 / (variance / 100)
    assert (low, high) == pytest.approx(wilson(0.5 * trials, trials))
    wide = wilson(50, 100)
    assert wide[0] < low < 0.5 < high < wide[1]


def test_a_task_with_more_rollouts_counts_for_more_of_the_share() -> None:
    found = clustered_interval([(1, 4), (3, 4)] * 5 + [(0, 1), (1, 1)] * 2)
    # 22 of 44; squares of successes less half the rollouts: ten times 1, four times a quarter.
    trials = 0.25 / (11 * 14 / 13 / 44**2)
    assert found == pytest.approx(wilson(0.5 * trials, trials))


def test_no_interval_is_narrower_than_that_of_independent_rollouts() -> None:
    assert clustered_interval([(2, 4)] * 10) == pytest.approx(wilson(20, 40))
    assert clustered_interval([]) == (0.0, 1.0)


def test_rollouts_that_all_end_alike_say_no_more_than_one_of_each_task() -> None:
    # They may be alike within tasks: eight times none of 32 is no 256 times none.
    assert clustered_interval([(0, 8)] * 32) == wilson(0, 32)
    assert clustered_interval([(8, 8)] * 32) == wilson(32, 32)


def test_mcnemars_exact_test_is_two_sided_and_never_more_than_one() -> None:
    # 2 * (1 + 10 + 45) / 1024.
    assert mcnemar(2, 8) == pytest.approx(112 / 1024)
    assert mcnemar(8, 2) == mcnemar(2, 8)
    assert mcnemar(4, 4) == 1.0


def test_two_evaluations_are_compared_task_by_task() -> None:
    found = paired([1, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1])
    assert (found.before, found.after) == pytest.approx((2 / 6, 4 / 6))
    assert (found.better, found.worse) == ((1, 2, 5), (4,))
    assert found.p == pytest.approx(mcnemar(1, 3))
    # Differences 0 1 1 0 -1 1: mean 1/3, variance (4 - 6/9) / 5, t of 5 degrees 2.571; the upper
    # end would lie above 1.
    half = 2.571 * math.sqrt((4 - 6 / 9) / 5 / 6)
    assert (found.low, found.high) == pytest.approx((1 / 3 - half, 1.0), rel=0.01)


def test_two_equal_evaluations_are_not_certain_to_be_equal() -> None:
    found = paired([1, 0, 1, 0], [1, 0, 1, 0])
    assert found.low < 0 == found.difference < found.high
    assert found.p == 1.0


def test_differences_that_are_equal_but_for_rounding_have_no_spread() -> None:
    found = paired([1 / 3, 2 / 3] * 4, [2 / 3, 1.0] * 4)
    assert found.low < 0.1 < found.difference < found.high


def test_evaluations_of_different_tasks_are_not_paired() -> None:
    with pytest.raises(ValueError, match="1 tasks against 2"):
        paired([1.0], [1.0, 0.0])
