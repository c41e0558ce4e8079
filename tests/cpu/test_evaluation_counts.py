"""Held-out numbers are about every task that was asked, also those that never ended."""

import asyncio
from types import SimpleNamespace

import pytest
from trinity.common.config import Config, TasksetConfig

from rlagent.base.measures import evaluation_metrics
from rlagent.trinity.advantages import NoteAdvantages
from rlagent.trinity.processes import SharedProcesses
from rlagent.trinity.rollout import (
    AgentCoordinator,
    BatchState,
    SlotScheduler,
    Status,
    task_results,
)


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


def test_a_batch_in_which_nothing_ended_says_why_and_counts_every_rollout():
    result = task_results([], missing=[4, 4])
    assert (result["rollouts"], result["completed"]) == (8, 0)
    assert result["errors"] == ["2 tasks did not end in time, or their process died"]


def _batch(kind: str, statuses: list[Status], tasks: int) -> dict:
    """What the coordinator makes of a batch of tasks, of which some ended."""
    batch = "3/easy" if kind == "eval" else 3
    coordinator = AgentCoordinator(Config(), SharedProcesses(Config(), 1))
    coordinator._repeats[batch] = 2
    state = BatchState(batch, kind, tasks, dict(enumerate(statuses)))
    return coordinator._build_batch_result(state, {})


def _task_status(*parts: tuple[int, list[dict[str, float]]]) -> Status:
    """What the scheduler makes of a task whose rollouts ran in parts: rollouts, and the metrics
    of those that ended with a reward."""
    from trinity.common.workflows import Task
    from trinity.explorer.scheduler import TaskWrapper

    scheduler = SlotScheduler.__new__(SlotScheduler)
    task = TaskWrapper(Task(), 3, len(parts), total_runs=sum(rollouts for rollouts, _ in parts))
    for rollouts, metrics in parts:
        status = Status(len(metrics), rollouts, metrics, None)
        scheduler._accumulate_task_result(task, status, b"")
    return scheduler._build_task_result(task)[0]


class _Pipeline:
    """Stands for Trinity's, which needs a Ray for its queue."""

    def __init__(self, config: Config) -> None:
        self.operators: list = []

    async def prepare(self) -> None:
        self.operators = ["the algorithm's"]


def test_advantages_are_noted_behind_the_operators_that_make_them(tmp_path, monkeypatch):
    monkeypatch.setattr("trinity.explorer.rollout_coordinator.ExperiencePipeline", _Pipeline)
    config = Config()
    taskset = TasksetConfig(workflow_args={"run_folder": str(tmp_path)})
    config.buffer.explorer_input.tasksets = [taskset]
    coordinator = AgentCoordinator(config, SharedProcesses(config, 1))
    asyncio.run(coordinator._init_experience_pipeline())
    first, last = coordinator.experience_pipeline.operators
    assert first == "the algorithm's"
    assert isinstance(last, NoteAdvantages)


def test_each_rollout_of_a_step_counts_once_however_many_its_task_has():
    whole = _task_status((1, [{"reward": 1.0, "depth": 4.0}]), (1, [{"reward": 3.0}]))
    half = _task_status((1, []), (1, [{"reward": 2.0}]))
    result = _batch("train", [whole, half], 2)
    assert (result["rollouts"], result["completed"]) == (4, 3)
    metrics = {k: v for k, v in result["metrics"].items() if k.startswith("rollout/depth")}
    assert metrics == {f"rollout/depth/{part}": 4.0 for part in ("mean", "min", "max")} | {
        "rollout/depth/count": 1.0
    }
    assert result["metrics"]["rollout/reward/mean"] == 2.0
    assert result["metrics"]["rollout/reward/min"] == 1.0


def test_each_rollout_of_a_task_that_never_ended_counts_as_failed():
    ended = _task_status((1, [{"reward": 1.0, "success": 1.0}]), (1, []))
    result = _batch("eval", [ended], 3)
    assert (result["rollouts"], result["completed"]) == (6, 1)
    assert evaluation_metrics({"easy": result})["eval/success"] == 1 / 6
