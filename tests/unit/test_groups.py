"""Groups whose rewards are all equal: which they are, what is counted, how many more are asked."""

import pytest

from rlagent.base.groups import EQUAL, group_metrics, is_dead, live, more_groups
from rlagent.config.batch import arithmetic
from rlagent.config.check import check
from rlagent.config.resolve import resolve
from rlagent.config.step_workload import explored
from rlagent.machine.resources import Machine
from rlagent.records.progress import Progress
from rlagent.trinity.translate import REFILL, to_trinity
from tests.configured import configured

CPU = Machine((), 2, 24)
OPERATORS = (
    "trinity.data_processor.experience_pipeline.operators="
    "[{name: reward_filter, args: {threshold: 1}}]"
)
"""A list of Trinity's, in the place of ours."""


def test_rewards_that_differ_by_rounding_alone_are_equal() -> None:
    # Their standard deviation is not 0 in floating point.
    assert is_dead([0.1] * 3 + [0.1 + 1e-17])
    assert not is_dead([0.1, 0.1 + 1e-3])


def test_a_group_of_which_one_rollout_is_left_has_nothing_to_compare() -> None:
    assert live([[1.0], [], [0.0, 1.0]]) == 1


def test_a_step_counts_its_groups_and_those_beyond_its_own() -> None:
    found = group_metrics([[0.0, 1.0], [1.0, 1.0], [0.0], []], wanted=3)
    assert found == {
        "rollout/groups": 4.0,
        "rollout/dead_share": 0.75,
        "rollout/group_std": 0.5 / 3,
        "rollout/refilled_groups": 1.0,
    }
    assert group_metrics([], wanted=3) == {}


@pytest.mark.parametrize("share", [1.0, 0.9, 0.5, 0.1, 0.0])
@pytest.mark.parametrize("limit", [2, 4, 9])
def test_refilling_ends_with_enough_groups_or_at_its_limit(share: float, limit: int) -> None:
    wanted = explored_now = 32
    alive, rounds = int(share * wanted), 0
    while more := more_groups(wanted, alive, explored_now, limit):
        assert more <= wanted
        explored_now += more
        alive = int(share * explored_now)
        rounds += 1
    assert alive >= wanted or explored_now == limit * wanted
    assert explored_now <= limit * wanted
    assert rounds < 3 * limit


def _operators(*overrides: str) -> list[dict]:
    tree = to_trinity(resolve(configured(*overrides), CPU), "/runs/run-1")
    return tree["data_processor"]["experience_pipeline"].get("operators", [])


def test_dead_groups_are_left_out_by_trinitys_own_filter() -> None:
    assert _operators() == []
    (dropped,) = _operators("algorithm.filter_groups=drop")
    assert dropped["name"] == "reward_std_filter"
    (refilled,) = _operators("algorithm.filter_groups=refill", "algorithm.refill_limit=6")
    assert refilled == {"name": REFILL, "args": {**dropped["args"], "limit": 6}}
    # A control's rewards are permuted before they are compared.
    names = [each["name"] for each in _operators(
        "algorithm.filter_groups=drop", "algorithm.shuffle_rewards=true"
    )]  # fmt: skip
    assert names == ["rlagent.trinity.shuffle.ShuffleRewards", "reward_std_filter"]


def test_what_refilling_may_explore_is_in_the_plan() -> None:
    config = resolve(
        configured("algorithm.filter_groups=refill", "algorithm.refill_limit=3"), CPU
    ).config
    batch = arithmetic(config)
    assert batch.most_rollouts == 3 * batch.rollouts
    assert f"up to {batch.most_rollouts} where groups are dead" in "\n".join(batch.lines())
    assert explored(config.algorithm) == 2.0
    plain = resolve(configured(), CPU).config
    assert explored(plain.algorithm) == 1.0
    assert "dead" not in "\n".join(arithmetic(plain).lines())


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (("algorithm.refill_limit=3",), "algorithm.refill_limit"),
        (("algorithm.filter_groups=drop", "algorithm.refill_limit=3"), "algorithm.refill_limit"),
        (
            (
                "algorithm=reinforceplusplus",
                "algorithm.repeat_times=1",
                "algorithm.filter_groups=drop",
            ),
            "algorithm.filter_groups",
        ),
        (
            ("algorithm.filter_groups=refill", "algorithm.shuffle_rewards=true"),
            "algorithm.filter_groups",
        ),
        (
            ("algorithm.filter_groups=refill", "trinity.explorer.over_rollout.ratio=0.5"),
            "algorithm.filter_groups",
        ),
        (("algorithm.filter_groups=refil",), "algorithm.filter_groups"),
        (("algorithm.filter_groups=drop", OPERATORS), "algorithm.filter_groups"),
        (("algorithm.shuffle_rewards=true", OPERATORS), "algorithm.shuffle_rewards"),
        (("algorithm.name=raft", OPERATORS), "algorithm.name"),
        (("workflow.truncated=mask", OPERATORS), "workflow.truncated"),
        (("dataset.order=difficulty", OPERATORS), "dataset.order"),
    ],
)
def test_a_filter_that_would_have_no_effect_or_leave_nothing_is_refused(overrides, key) -> None:
    assert [problem.key for problem in check(configured(*overrides))] == [key]


def test_a_steps_line_says_when_most_groups_are_dead() -> None:
    def line(dead: float) -> str:
        progress = Progress(total_steps=100)
        metrics = {"rollout/reward/mean": 0.5, "rollout/dead_share": dead}
        progress.take([{"role": "explorer", "step": 1, "time": 1.0, "metrics": metrics}])
        progress.take([{"role": "trainer", "step": 1, "time": 1.0, "metrics": {}}])
        return progress.line(1, 1.0)

    assert "dead groups 62%" in line(0.62).replace(" %", "%")
    assert "dead" not in line(0.4)


def test_a_spread_of_exactly_the_tolerance_is_none() -> None:
    # Two rewards differ from their mean by the deviation.
    assert is_dead([0.0, 2 * EQUAL])
    assert not is_dead([0.0, 3 * EQUAL])


def test_a_step_whose_rollouts_all_failed_has_groups_without_a_spread() -> None:
    assert group_metrics([[], []], wanted=4) == {
        "rollout/groups": 2.0,
        "rollout/dead_share": 1.0,
        "rollout/group_std": 0.0,
        "rollout/refilled_groups": 0.0,
    }
