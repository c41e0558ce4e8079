"""What is said of a run that learns nothing, and when."""

import math

import pytest

from rlagent.base.signs import (
    CONSTANT_STEPS,
    DEAD_STEPS,
    ENTROPY_STEPS,
    FEW_STEPS,
    KL_STEPS,
    Signs,
    settled,
    signs_in,
)


def explored(step: int, low: float, high: float, dead: float | None = None) -> dict:
    metrics = {"rollout/rollouts": 8.0, "rollout/reward/min": low, "rollout/reward/max": high}
    if dead is not None:
        metrics["rollout/dead_share"] = dead
    return {"role": "explorer", "step": step, "metrics": metrics}


def trained(step: int, **metrics: float) -> dict:
    named = {f"actor/{name}": value for name, value in metrics.items()}
    return {"role": "trainer", "step": step, "metrics": named}


def test_a_run_that_learns_is_warned_of_nothing() -> None:
    rows = [explored(n, 0.0, 1.0, 0.5) for n in range(30)]
    rows += [trained(n, entropy=1 - n / 60, skipped_updates=0.0) for n in range(30)]
    assert signs_in(rows) == []


def test_dead_groups_are_said_once_after_ten_steps_in_a_row() -> None:
    shares = [0.9] * (DEAD_STEPS - 1) + [0.8] + [0.9] * (DEAD_STEPS - 1)
    rows = [explored(n, 0.0, 1.0, share) for n, share in enumerate(shares)]
    assert signs_in(rows) == []
    last = len(rows)
    rows += [explored(last + n, 0.0, 1.0, 0.9) for n in range(5)]
    (line,) = signs_in(rows)
    assert (
        f"over 80 % of the groups were dead in each of the last 10 steps, up to step {last}" in line
    )


def test_a_constant_reward_is_said_and_not_its_dead_groups_too() -> None:
    rows = [explored(n, 0.5, 0.5, 1.0) for n in range(20)]
    (line,) = signs_in(rows)
    assert line.startswith(f"the reward is constant: every rollout of the last {CONSTANT_STEPS}")
    assert "earned 0.5" in line
    # Another value each step, or one rollout that differs, is no constant reward.
    assert signs_in([explored(n, n % 2, n % 2) for n in range(20)]) == []
    assert signs_in([explored(n, 0.0, float(n % 3 == 0)) for n in range(20)]) == []


def test_entropy_has_collapsed_below_a_tenth_of_the_first_steps() -> None:
    steady = [trained(n, entropy=0.5) for n in range(ENTROPY_STEPS)]
    low = [trained(10 + n, entropy=0.06) for n in range(20)]
    assert signs_in(steady + low) == []
    lower = [trained(40 + n, entropy=0.01) for n in range(20)]
    (line,) = signs_in(steady + low + lower)
    assert "0.5 in the first steps" in line
    assert signs_in([trained(n, entropy=math.nan) for n in range(30)]) == []


def off_policy(step: int, **metrics: float) -> dict:
    named = {f"off_policy/{name}": value for name, value in metrics.items()}
    return {"role": "trainer", "step": step, "metrics": named}


def test_a_small_effective_sample_is_said_after_some_steps_in_a_row() -> None:
    sizes = [0.4] * (FEW_STEPS - 1) + [0.5] + [0.4] * (FEW_STEPS - 1)
    rows = [off_policy(n, ess=size) for n, size in enumerate(sizes)]
    assert signs_in(rows) == []
    (line,) = signs_in([*rows, off_policy(9, ess=0.3), off_policy(10, ess=0.2)])
    assert "below 0.5 of the tokens in each of the last 3 steps, 0.3 at step 9" in line


def test_a_kl_that_grows_tenfold_is_said_where_it_is_notable() -> None:
    def rows(first: float, last: float) -> list[dict]:
        values = [first] * KL_STEPS + [last] * KL_STEPS
        name = "kl/behaviour_proximal"
        return [off_policy(n, **{name: value}) for n, value in enumerate(values)]

    assert signs_in(rows(1e-6, 1e-4)) == signs_in(rows(0.02, 0.1)) == []
    (line,) = signs_in(rows(0.001, 0.02))
    assert "has grown from 0.001 to 0.02 nats per token, up to step 9" in line


def test_each_skipped_step_is_said_and_too_many_in_a_row_end_the_run() -> None:
    signs = Signs(limit=2)
    assert signs.take(trained(1, skipped_updates=1.0)) != []
    assert signs.ending == ""
    # A step without experiences says nothing of gradients.
    assert signs.take(trained(2)) == []
    assert signs.take(trained(3, skipped_updates=1.0)) != []
    assert "2 steps in a row (algorithm.skip_limit=2)" in signs.ending
    signs.take(trained(4, skipped_updates=0.0))
    assert signs.ending == ""


@pytest.mark.parametrize("norm", [math.nan, math.inf])
def test_a_norm_that_is_no_number_is_counted_and_left_out(norm: float) -> None:
    assert settled({"actor/grad_norm": norm, "a": 1.0}) == {"a": 1.0, "actor/skipped_updates": 1.0}


def test_a_report_shows_the_first_lines_and_counts_the_rest() -> None:
    lines = signs_in([trained(n, skipped_updates=1.0) for n in range(40)])
    assert lines[-1] == "and 28 more"
    assert "step 0" in lines[0]
