"""Each number of a step and of an evaluation is what it is defined to be, over the rollouts."""

import itertools

import pytest

from rlagent.base.estimates import clustered_interval
from rlagent.base.measures import (
    COUNTED,
    OURS,
    evaluation_metrics,
    own_name,
    set_names,
    step_metrics,
    workflow_metrics,
)
from rlagent.base.stats import wilson
from rlagent.config.metric_names import EVALUATED, KNOWN, LOSS


def _task(*rewards: float | None, **own: float) -> dict:
    """A task whose rollouts had these rewards; None: one that failed."""
    ended = [reward for reward in rewards if reward is not None]
    reports = [{"reward": each, "success": float(each >= 1), **own} for each in ended]
    return {"rollouts": len(rewards), "metrics": reports}


def test_a_step_is_about_its_rollouts_not_about_its_tasks():
    # Of one task three rollouts ended, of the other one: a mean of means would say 0.5.
    reports = [{"reward": 1.0}, {"reward": 1.0}, {"reward": 1.0}, {"reward": 0.0}]
    found = step_metrics(reports)
    assert found == {
        "rollout/reward/mean": 0.75,
        "rollout/reward/min": 0.0,
        "rollout/reward/max": 1.0,
        "rollout/reward/count": 4.0,
    }


def test_a_metric_is_of_the_rollouts_that_report_it():
    found = step_metrics([{"reward": 0.0}, {"reward": 0.0, "depth": 7.0}, {"depth": 2.0}])
    assert found["rollout/depth/mean"] == 4.5
    assert (found["rollout/depth/min"], found["rollout/depth/max"]) == (2.0, 7.0)
    assert (found["rollout/depth/count"], found["rollout/reward/count"]) == (2.0, 2.0)


def test_a_name_may_ask_for_another_sum_than_the_mean():
    found = step_metrics([{"tokens:sum": 2.0, "x:y": 1.0}, {"tokens:sum": 3.0}])
    assert found["rollout/tokens/sum"] == 5.0
    assert found["rollout/x:y/mean"] == 1.0
    assert "rollout/tokens/mean" not in found


def test_every_aggregate_that_a_name_may_ask_for_is_that_of_the_rollouts_in_their_order():
    wanted = {"mean": 2.0, "min": 1.0, "max": 3.0, "sum": 6.0, "last": 2.0}
    reports = [{f"x:{end}": value for end in wanted} for value in (3.0, 1.0, 2.0)]
    evaluated = evaluation_metrics({"a": {"tasks": [{"rollouts": 3, "metrics": reports}]}})
    for found, family in ((step_metrics(reports), "rollout"), (evaluated, "eval")):
        assert {end: found[f"{family}/x/{end}"] for end in wanted} == wanted
    # A name without a colon asks for nothing.
    assert step_metrics([{"sum": 2.0}])["rollout/sum/mean"] == 2.0


def test_what_rlagent_measures_itself_has_its_mean_alone_in_an_evaluation():
    tasks = [_task(1.0, None, deep=2.0), _task(0.5, 0.5, deep=4.0)]
    found = evaluation_metrics({"a": {"tasks": tasks}})
    assert (found["eval/tasks"], found["eval/rollouts"], found["eval/failed"]) == (2, 4, 1)
    assert (found["eval/deep/min"], found["eval/deep/max"]) == (2.0, 4.0)
    assert not [name for name in found if name.startswith(("eval/reward/", "eval/success/"))]
    silent = {"rollouts": 1, "metrics": [{"reward": 1.0}]}
    assert evaluation_metrics({"a": {"tasks": [silent]}})["eval/success"] == 0
    assert workflow_metrics(step_metrics([{"reward": 1.0, "a": 2.0}]), "rollout") == {"a": 2.0}


def test_success_counts_rollouts_that_failed_and_other_means_do_not():
    found = evaluation_metrics({"heldout": {"tasks": [_task(1.0), _task(None), _task(0.5)]}})
    assert found["eval/success"] == pytest.approx(1 / 3)
    assert found["eval/reward"] == 0.75
    assert (found["eval/tasks"], found["eval/rollouts"], found["eval/failed"]) == (3, 3, 1)


def test_sets_are_measured_apart_and_together():
    sets = {
        "easy": {"tasks": [_task(1.0, 1.0)] * 4},
        "hard": {"tasks": [_task(0.0, deep=3.0)] * 8 + [_task(1.0, deep=6.0)] * 4},
    }
    found = evaluation_metrics(sets)
    assert (found["eval/tasks"], found["eval/rollouts"]) == (16, 20)
    assert (found["eval/easy/tasks"], found["eval/easy/rollouts"]) == (4, 8)
    assert (found["eval/hard/tasks"], found["eval/hard/rollouts"]) == (12, 12)
    assert found["eval/easy/success"] == 1.0
    assert found["eval/hard/success"] == pytest.approx(1 / 3)
    assert found["eval/success"] == 12 / 20
    assert (found["eval/deep"], found["eval/hard/deep"]) == (4.0, 4.0)
    assert found["eval/hard/deep/count"] == 12
    assert sorted(set_names(found)) == ["easy", "hard"]
    assert workflow_metrics(found, "eval") == {"deep": 4.0}
    assert workflow_metrics(found, "eval/hard") == {"deep": 4.0}


def test_one_set_alone_is_not_named():
    found = evaluation_metrics({"heldout": {"tasks": [_task(1.0)]}})
    assert set_names(found) == []
    assert not [name for name in found if "heldout" in name]


def test_rollouts_of_one_task_make_no_interval_narrower():
    alone = evaluation_metrics({"a": {"tasks": [_task(1.0), _task(0.0)]}})
    repeated = evaluation_metrics({"a": {"tasks": [_task(*[1.0] * 8), _task(*[0.0] * 8)]}})
    for found in (alone, repeated):
        assert (found["eval/success_low"], found["eval/success_high"]) == wilson(1, 2)


def test_rollouts_that_differ_within_tasks_narrow_it_as_in_an_evaluation_of_its_own():
    tasks = [_task(1.0, 0.0, 0.0, 0.0), _task(1.0, 1.0, 1.0, 0.0)] * 10
    found = evaluation_metrics({"a": {"tasks": tasks}})
    own = clustered_interval([(1, 4), (3, 4)] * 10)
    assert (found["eval/success_low"], found["eval/success_high"]) == own
    assert own[0] > wilson(10, 20)[0]


def test_a_workflows_metric_with_a_name_of_ours_is_kept_beside_ours():
    names = (*OURS, *COUNTED)
    kept = {own_name(name) for name in names}
    assert kept == {f"workflow/{name}" for name in names}
    assert own_name("success:sum") == "workflow/success:sum"
    assert own_name("reward/a") == "workflow/reward/a"
    reports = [{"success": 1.0, "reward": 1.0, own_name("success"): 0.25, own_name("tasks"): 9.0}]
    found = evaluation_metrics({"a": {"tasks": [{"rollouts": 1, "metrics": reports}]}})
    assert (found["eval/success"], found["eval/workflow/success"]) == (1.0, 0.25)
    assert (found["eval/tasks"], found["eval/workflow/tasks"]) == (1.0, 9.0)
    assert workflow_metrics(found, "eval") == {"workflow/success": 0.25, "workflow/tasks": 9.0}
    assert step_metrics(reports)["rollout/workflow/success/mean"] == 0.25


def test_no_two_metrics_of_a_workflow_are_kept_as_one():
    names = ["a", "success", "workflow/success", "workflow/workflow/success", "workflow/a"]
    for one, other in itertools.combinations(names, 2):
        assert own_name(one) != own_name(other)


def test_an_evaluation_measures_what_a_sweep_may_compare_trials_by():
    report = dict.fromkeys((*OURS, "valid", "accuracy"), 1.0)
    task = {"rollouts": 1, "metrics": [report]}
    found = {*evaluation_metrics({"heldout": {"tasks": [task]}}), "eval/model_version"}
    spread = {name for name in found if name.endswith(("/count", "/min", "/max"))}
    of_rollouts = {name for name in KNOWN if name.startswith(EVALUATED)} - {LOSS}
    assert found - spread == of_rollouts


def test_a_set_without_rollouts_has_no_success():
    assert evaluation_metrics({"a": {"tasks": []}}) == {}
    both = evaluation_metrics({"a": {"tasks": []}, "b": {"tasks": [_task(1.0)]}})
    assert (both["eval/success"], both["eval/b/success"]) == (1.0, 1.0)
    assert "eval/a/success" not in both
