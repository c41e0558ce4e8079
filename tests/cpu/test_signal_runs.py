"""Runs whose rewards say little end as docs/rollouts.md says; real ones."""

import math

import pytest

from tests.cpu.runs import run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1300)]

FEW = ("dataset.eval_split=null", "algorithm.repeat_times=4")


def test_a_constant_reward_is_said_before_and_while_the_run_trains(tmp_path):
    result = run(
        tmp_path,
        *FEW,
        "workflow.function=signal_agents:constant",
        "algorithm.total_steps=4",
        "run.preflight=true",
        timeout=1200,
    )
    assert result.returncode == 0, result.output
    assert result.status["steps_trained"] == 4
    assert "signal: the reward is the same in every rollout (0.5)" in result.output
    assert result.output.count("warning: the reward is constant") == 1
    assert result.series("signal/dead", "driver") == {0: 1.0}
    assert "the reward is constant" in result.folder.report_html.read_text()


def test_rollouts_whose_reward_is_no_number_fail_alone_and_are_counted(tmp_path):
    result = run(
        tmp_path,
        *FEW,
        "workflow.function=signal_agents:at_times_no_number",
        "algorithm.total_steps=2",
        "algorithm.batch_size=10",
        timeout=1200,
    )
    assert result.returncode == 0, result.output
    assert result.status["steps_trained"] == 2
    # One in ten of the 40 rollouts of a step.
    shares = result.series("rollout/failed_share", "explorer").values()
    assert list(shares) == [pytest.approx(0.1)] * 2
    rewards = result.series("rollout/reward/mean", "explorer").values()
    assert all(math.isfinite(reward) for reward in rewards)
    errors = {row["error"] for row in result.folder.rollouts.read() if row["error"]}
    assert all("returned the reward nan; it must be finite" in error for error in errors)
    assert errors
