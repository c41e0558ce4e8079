"""Held-out numbers are about every task that was asked, also those that never ended."""

from types import SimpleNamespace

import pytest

from rlagent.run.measures import evaluation_metrics
from rlagent.trinity.rollout import task_results, turns


def _status(success: float | None) -> SimpleNamespace:
    return SimpleNamespace(
        total_runs=1,
        metrics=[] if success is None else [{"success": success, "reward": success}],
        message="ValueError: no" if success is None else None,
    )


def test_tasks_that_never_ended_count_as_failed():
    result = task_results([_status(1.0), _status(0.0), _status(None)], missing=[1])
    assert (result["rollouts"], result["completed"]) == (4, 1 + 1)
    assert result["errors"][-1].startswith("1 tasks did not end in time")
    metrics = evaluation_metrics({"heldout": result})
    assert metrics["eval/success"] == pytest.approx(0.25)
    assert metrics["eval/tasks"] == 4
    assert metrics["eval/failed"] == 2


def test_a_batch_of_which_nothing_ended_says_why_and_counts_every_rollout():
    result = task_results([], missing=[4, 4])
    assert (result["rollouts"], result["completed"]) == (8, 0)
    assert result["errors"] == ["2 tasks did not end in time, or their process died"]


def test_an_evaluation_has_time_for_each_of_its_turns():
    assert turns(1319, 32) * 32 >= 1319 + 32
