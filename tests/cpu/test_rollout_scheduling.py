"""Slots and runner processes: what becomes of a rollout, and when a batch counts as ended."""

import asyncio
import math
from types import SimpleNamespace

import pytest
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayError, RayTaskError

from rlagent.base.endings import RunError
from rlagent.config.json_rows import content_hash
from rlagent.launch import session
from rlagent.records.folder import RunFolder
from rlagent.trinity.processes import RolloutLost
from rlagent.trinity.rollout import Slot, SlotScheduler, Status
from rlagent.trinity.runner import AskedOnce


def test_a_large_model_gets_the_time_that_saving_it_takes():
    assert session.stop_grace(longest_step=3.0, parameters=900_000) == session.GRACE
    assert session.stop_grace(longest_step=100.0, parameters=8_000_000_000) == 200 + 960


TRACEBACK = "Traceback (most recent call last):\n  File 1"


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (
            OutOfMemoryError("4 workers were killed\nmore"),
            "OutOfMemoryError: 4 workers were killed",
        ),
        (RayTaskError("f", TRACEBACK, ValueError("bad")), "ValueError: bad"),
        (
            ActorDiedError(RayTaskError("f", f"{TRACEBACK}\nlib.OddError: no\n\nx", None)),
            "OddError: no",
        ),
    ],
)
def test_however_ray_ends_a_role_it_is_named(monkeypatch, error, cause):
    def get(ref):
        raise error

    monkeypatch.setattr(session.ray, "get", get)
    with pytest.raises(RunError) as raised:
        session._result("trainer", "its result")
    assert str(raised.value) == f"trainer: {cause}"


def _scheduler() -> SlotScheduler:
    """A scheduler that waits for a batch of two tasks, without its processes."""
    scheduler = SlotScheduler.__new__(SlotScheduler)
    scheduler.completed_tasks = {}
    scheduler.config = SimpleNamespace(
        explorer=SimpleNamespace(over_rollout=SimpleNamespace(wait_after_min=0.0))
    )
    scheduler._task_ended = asyncio.Event()
    scheduler._changed = asyncio.Event()
    return scheduler


def _waiting(scheduler: SlotScheduler, timeout: float) -> "asyncio.Future[bool]":
    return asyncio.ensure_future(
        scheduler._wait_for_batch_results(
            batch_id=1,
            min_num=2,
            scheduled_num=2,
            timeout=timeout,
            clear_timeout_tasks=False,
            return_partial_tasks=False,
        )
    )


def test_a_batch_has_ended_when_its_last_task_has(monkeypatch):
    from trinity.explorer.scheduler import Scheduler

    def take(self, task) -> None:
        self.completed_tasks.setdefault(1, {})[task] = task

    monkeypatch.setattr(Scheduler, "task_done_callback", take)

    async def run() -> bool:
        scheduler = _scheduler()
        waiting = [_waiting(scheduler, 60.0) for _ in range(2)]
        for task in (0, 1):
            await asyncio.sleep(0)
            assert not any(one.done() for one in waiting)
            scheduler.task_done_callback(task)
        return any(await asyncio.gather(*waiting))

    timed_out = asyncio.run(run())
    assert not timed_out


def _slot_status(outcome, run_dir) -> Status:
    """What becomes of a rollout whose process returns, or raises, this."""

    from trinity.common.config import Config, GenerationConfig
    from trinity.common.workflows import Task
    from trinity.explorer.scheduler import TaskWrapper

    async def run(group, key, arguments):
        assert (key, arguments["batch_id"], arguments["run"]) == ("3/0/1", "3", 1)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    slot = Slot(
        SimpleNamespace(number=1, run=run),
        runner_id=0,
        rollout_model_id=0,
        auxiliary_model_ids=[],
        config=Config(),
    )
    task = Task(
        batch_id=3,
        task_id=0,
        rollout_args=GenerationConfig(),
        raw_task={"question": "1 + 1", "rlagent_row": 7},
        workflow_args={"run_folder": str(run_dir), "attempt": 2},
    )
    return asyncio.run(slot.run_with_retry(TaskWrapper(task, 3), 1, 1, math.inf, True))[0]


@pytest.mark.parametrize(
    ("outcome", "completed", "message"),
    [
        ((Status(1, 1, [{"reward": 1.0}]), b"x"), 1, None),
        ((Status(0, 1, [{"time/run_execution": 1.0}], "no"), b""), 0, "no"),
        (RolloutLost("it slept"), 0, "RolloutLost: it slept"),
        (RayError("gone"), 0, "RuntimeError: its result did not arrive: gone"),
    ],
)
def test_a_rollout_that_fails_has_a_cause_and_no_metrics(outcome, completed, message, tmp_path):
    status = _slot_status(outcome, tmp_path)
    assert (status.completed_runs, status.total_runs, status.message) == (completed, 1, message)
    assert len(status.metrics) == completed


def test_rollouts_that_ask_at_once_for_the_weights_version_share_the_answer():
    async def run():
        asked = []

        async def version():
            asked.append(len(asked) + 1)
            await asyncio.sleep(0)
            return asked[-1]

        handle = SimpleNamespace(get_model_version=SimpleNamespace(remote=version), other="other")
        engine = AskedOnce(handle)
        first = await asyncio.gather(*(engine.get_model_version.remote() for _ in range(3)))
        given_up = asyncio.ensure_future(engine.get_model_version.remote())
        waiting = asyncio.ensure_future(engine.get_model_version.remote())
        await asyncio.sleep(0)
        given_up.cancel()
        return first, await waiting, engine.other

    assert asyncio.run(run()) == ([1, 1, 1], 2, "other")


def test_a_batch_that_does_not_end_is_late():
    async def run() -> bool:
        return await _waiting(_scheduler(), 0.0)

    assert asyncio.run(run())


def test_a_rollout_whose_process_crashed_has_a_row_with_its_cause_and_task(tmp_path):
    _slot_status(RolloutLost("it crashed"), tmp_path)
    (row,) = RunFolder(tmp_path).rollouts.read()
    assert (row["phase"], row["step"], row["group"], row["run"]) == ("train", 3, 0, 1)
    assert (row["attempt"], row["error"], row["reward"], row["calls"]) == (
        2,
        "it crashed",
        None,
        [],
    )
    assert row["row"] == {"index": 7, "hash": content_hash({"question": "1 + 1"})}
    assert row["task"] == {"question": "1 + 1"}


def test_a_rollout_that_its_process_recorded_with_its_calls_is_not_recorded_again(tmp_path):
    _slot_status(RolloutLost("it slept", is_recorded=True), tmp_path)
    assert list(RunFolder(tmp_path).rollouts.read()) == []


def test_a_lost_rollout_that_cannot_be_recorded_says_why(tmp_path):
    (tmp_path / "run").touch()
    status = _slot_status(RolloutLost("it crashed"), tmp_path / "run")
    assert status.message.startswith("RolloutLost: it crashed; it could not be recorded: ")
