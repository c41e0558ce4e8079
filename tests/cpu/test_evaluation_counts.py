"""Held-out numbers are about every task that was asked, also those that never ended."""

from types import SimpleNamespace

import pytest

from rlagent.config.metric_names import EVALUATED, KNOWN
from rlagent.trinity.explorer import evaluation_metrics
from rlagent.trinity.rollout import task_results, turns


def _status(success: float | None) -> SimpleNamespace:
    metrics = [] if success is None else [{"success/mean@1": success, "reward/mean@1": success}]
    return SimpleNamespace(
        completed_runs=0 if success is None else 1,
        total_runs=1,
        metrics=metrics,
        message="ValueError: no" if success is None else None,
    )


def test_tasks_that_never_ended_count_as_failed():
    result = task_results([_status(1.0), _status(0.0), _status(None)], missing=1)
    assert (result["rollouts"], result["completed"]) == (4, 1 + 1)
    assert result["errors"][-1].startswith("1 tasks did not end in time")
    metrics = evaluation_metrics([result])
    assert metrics["eval/success"] == pytest.approx(0.25)
    assert metrics["eval/tasks"] == 4
    assert metrics["eval/failed"] == 2


def test_a_batch_of_which_nothing_ended_says_why():
    result = task_results([], missing=2)
    assert (result["rollouts"], result["completed"]) == (2, 0)
    assert result["errors"] == ["2 tasks did not end in time, or their process died"]


def test_an_evaluation_has_time_for_each_of_its_turns():
    assert turns(1319, 32) * 32 >= 1319 + 32


def test_an_evaluation_measures_what_a_sweep_may_compare_trials_by():
    names = ("success", "reward", "valid", "accuracy", "overlong", "of_its_own")
    task = {"rollouts": 1, "completed": 1, "metrics": {f"{name}/mean@1": 1.0 for name in names}}
    metrics = evaluation_metrics([{"tasks": [task]}])
    assert set(metrics) == {name for name in KNOWN if name.startswith(EVALUATED)}
