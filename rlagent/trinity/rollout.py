"""Rollouts: Trinity's coordinator, scheduler and runners, with many tasks to one runner process.

Trinity gives each running task a process of its own. Agent code mostly waits for the model, so
here the scheduler's runners are slots that share a few processes: starting one costs seconds and
some 400 MB. Results also say which rollouts failed, and why.
"""

import asyncio
import bisect
import contextlib
import math
import time
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.exceptions import RayError

from rlagent.upstream import trinity as trinity_patches
from rlagent.upstream import trinity_hooks, trinity_imports

trinity_imports.without_vllm.apply()

from trinity.common.config import Config  # noqa: E402
from trinity.explorer.rollout_coordinator import BatchState, RolloutCoordinator  # noqa: E402
from trinity.explorer.scheduler import RunnerWrapper, Scheduler, TaskWrapper  # noqa: E402
from trinity.explorer.workflow_runner import Status  # noqa: E402

from rlagent.base.cause import cause_of  # noqa: E402
from rlagent.base.groups import group_metrics  # noqa: E402
from rlagent.base.measures import rewards_of, step_metrics  # noqa: E402
from rlagent.config.algorithms import GROUPED  # noqa: E402
from rlagent.records.folder import RunFolder  # noqa: E402
from rlagent.trinity import workflow  # noqa: E402
from rlagent.trinity.advantages import NoteAdvantages  # noqa: E402
from rlagent.trinity.grouping import add_grouping  # noqa: E402
from rlagent.trinity.processes import RolloutLost, SharedProcesses  # noqa: E402
from rlagent.trinity.translate import GROUP_FILTERS  # noqa: E402

trinity_patches.fast_payloads.apply()

LATEST_LOOK = 1.0
"""Seconds after which the scheduler looks for work even if it was not notified of any."""


@dataclass(frozen=True)
class RolloutStatus(Status):
    """Trinity's, of one rollout of a task."""

    run: int = 0


class Slot(RunnerWrapper):
    """One slot for a running rollout; which process runs it is decided when it begins."""

    def __init__(self, processes: SharedProcesses, **kwargs: Any) -> None:
        self._processes = processes
        super().__init__(**kwargs)

    def _create_runner(self) -> Any:
        return None

    async def prepare(self) -> None:
        """Wait until a process has reached its engine."""
        self.runner = await self._processes.prepare(self.runner_id % self._processes.number)

    async def update_state(self) -> None:
        """Ask the process that is at this place now."""
        await self.prepare()
        await super().update_state()

    async def restart_runner(self) -> None:
        """Nothing: a rollout that nobody waits for is cancelled, and processes look after
        themselves."""

    async def run_with_retry(
        self,
        task: Any,
        repeat_times: int,
        run_id_base: int,
        timeout: float,
        collect_partial_runs: bool,
    ) -> Any:
        """Run one rollout; like Trinity's, which also gives up a process after each timeout."""
        began = time.time()
        payload = b""
        for _ in range(self.retry_times + 1):
            status, payload = await self._run(task, run_id_base, timeout)
            if status.ok:
                break
            self.logger.error(status.message)
        # Trinity puts the seconds behind the metrics of the rollouts too.
        return status, payload, self.runner_id, time.time() - began

    async def _run(self, task: Any, run: int, timeout: float) -> tuple[Status, bytes]:
        key = f"{task.batch_id}/{task.task.task_id}/{run}"
        arguments = {"task": _pickled(task), "batch_id": str(task.batch_id), "run": run}
        try:
            running = self._processes.run(id(task), key, arguments)
            if math.isinf(timeout):
                status, payload = await running
            else:
                status, payload = await asyncio.wait_for(running, timeout)
            # Of one that failed Trinity gives the seconds.
            metrics = status.metrics[: status.completed_runs]
            return RolloutStatus(**{**vars(status), "metrics": metrics}, run=run), payload
        except RolloutLost as lost:
            message = f"RolloutLost: {lost}"
            if not lost.is_recorded:
                try:
                    workflow.record_lost(task.task, run, str(lost))
                # Such as a full disk.
                except (OSError, ValueError) as error:
                    message = f"{message}; it could not be recorded: {cause_of(error)}"
        except RayError as error:
            message = f"RuntimeError: its result did not arrive: {error}"
        except TimeoutError:
            message = (
                f"TimeoutError: a rollout took longer than explorer.dynamic_timeout: {timeout:g} s"
            )
        return RolloutStatus(0, 1, [], message, run), b""


def _pickled(task: Any) -> bytes:
    """The task of a group, pickled once for all its rollouts."""
    if not hasattr(task, "pickled"):
        alone = replace(task.task, rollout_args=replace(task.task.rollout_args, n=1))
        task.pickled = ray.cloudpickle.dumps(alone)
    return task.pickled


def workflow_args_of(config: Config) -> dict[str, Any]:
    """What the workflow adapter is configured with; see `translate.workflow_args`."""
    return config.buffer.explorer_input.tasksets[0].workflow_args


def slots_of(config: Config) -> int:
    """Rollouts that run at once: as many as were asked for, else the rollouts of a step."""
    asked = workflow_args_of(config).get("slots")
    return asked or config.buffer.batch_size * config.algorithm.repeat_times


class SlotScheduler(Scheduler):
    """Trinity's scheduler over slots.

    Each rollout of a task is run by itself, so that it is kept whatever becomes of the others.
    Trinity offers that too, but cancels and repeats what is late: here each rollout ends within its
    own time, and a batch when all have. What there is to do is done when it comes, where Trinity
    looks for it every 10 ms, and for a batch's end every 100 ms.
    """

    def __init__(self, config: Config, processes: SharedProcesses) -> None:
        trinity_hooks.scheduler_slots.apply()
        super().__init__(config)
        self._processes = processes
        self.max_repeat_times = 1
        self.default_timeout = math.inf
        # A slot for each rollout of a step; an evaluation gives the engines as many at once.
        self.runner_num = slots_of(config)
        self._changed = asyncio.Event()
        # A new one for each end, so that no waiter misses one.
        self._task_ended = asyncio.Event()

    def schedule(self, tasks: list[Any], batch_id: Any) -> None:
        """Schedule tasks of a batch, or further ones of a batch under way."""
        super().schedule(tasks, batch_id)
        self._changed.set()

    def _split_and_submit_tasks(self, tasks: list[Any], batch_id: Any) -> None:
        # Trinity numbers those of each call from 0; they are counted already.
        first = self.task_num_map[batch_id] - len(tasks)
        for number, task in enumerate(tasks, first):
            wrapper = TaskWrapper(
                task=replace(task, batch_id=batch_id, task_id=number),
                batch_id=batch_id,
                total_runs=task.repeat_times,
            )
            wrapper.sub_task_num = task.repeat_times
            runs = [(wrapper, 1, run) for run in range(task.repeat_times)]
            self.pending_tasks[batch_id].extendleft(runs)

    async def rewards(self, batch_id: Any) -> list[list[float]]:
        """Wait for the tasks of a batch; returns the rewards of each, of rollouts with one."""
        expected = self.task_num_map[batch_id]
        while len(self.completed_tasks.get(batch_id, {})) < expected:
            await _set_or_late(self._task_ended, LATEST_LOOK)
        results = self.completed_tasks.get(batch_id, {}).values()
        return [rewards_of(result.status.metrics) for result in results]

    def task_done_callback(self, async_task: Any) -> None:
        """Take the result of a task, whose slot is free again."""
        super().task_done_callback(async_task)
        self._changed.set()
        ended, self._task_ended = self._task_ended, asyncio.Event()
        ended.set()

    def _accumulate_task_result(self, task: Any, status: Status, payload: bytes) -> None:
        super()._accumulate_task_result(task, status, payload)
        if payload:
            # In the order of the rollouts, not of their ends: the same seed trains on the same.
            runs = task.__dict__.setdefault("runs", [])
            at = bisect.bisect(runs, run := getattr(status, "run", 0))
            runs.insert(at, run)
            task.experience_payloads.insert(at, task.experience_payloads.pop())

    def _build_task_result(self, task: Any) -> tuple[Status, list[bytes]]:
        """Return what a task came to, with the metrics of each rollout, of which Trinity takes
        means, and draws bootstraps for an evaluation."""
        metrics, task.metrics = task.metrics, []
        status, payloads = super()._build_task_result(task)
        return replace(status, metrics=metrics), payloads

    async def _scheduler_loop(self) -> None:
        while self.running:
            await _set_or_late(self._changed, LATEST_LOOK)
            self._changed.clear()
            await self._schedule_pending_tasks()

    async def _wait_for_batch_results(
        self, batch_id: Any, min_num: int, scheduled_num: int, timeout: float, **options: Any
    ) -> bool:
        deadline = time.monotonic() + timeout
        while (
            len(self.completed_tasks.get(batch_id, {})) < min_num
            and (left := deadline - time.monotonic()) > 0
        ):
            await _set_or_late(self._task_ended, min(left, LATEST_LOOK))
        # Done, or else what Trinity does with a batch that is late.
        return await super()._wait_for_batch_results(
            batch_id=batch_id,
            min_num=min_num,
            scheduled_num=scheduled_num,
            timeout=max(0.1, deadline - time.monotonic()),
            **options,
        )

    async def _restart_runner(self, runner_id: int) -> None:
        await super()._restart_runner(runner_id)
        self._changed.set()

    async def _create_runner(self, runner_id: int) -> None:
        explorer = self.config.explorer
        slot = Slot(
            self._processes,
            runner_id=runner_id,
            rollout_model_id=runner_id % self._processes.number % explorer.rollout_model.engine_num,
            auxiliary_model_ids=[
                runner_id % model.engine_num for model in explorer.auxiliary_models
            ],
            config=self.config,
        )
        await slot.prepare()
        self.runners[runner_id] = slot
        self.idle_runners.add(runner_id)


async def _set_or_late(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)


def compares_groups(config: Config) -> bool:
    """Whether the rollouts of a task are compared, so that equal rewards teach nothing."""
    algorithm, pipeline = config.algorithm, config.data_processor.experience_pipeline
    filters = any(operator.name in GROUP_FILTERS for operator in pipeline.operators)
    return algorithm.repeat_times > 1 and (algorithm.algorithm_type in GROUPED or filters)


def task_results(statuses: list[Any], missing: list[int]) -> dict[str, Any]:
    """Counts and numbers of the tasks of a batch; those without a status count as failed.

    Args:
        statuses: Of the tasks that ended.
        missing: The number of rollouts of each task that did not.

    Returns:
        `rollouts`; `completed`, those of them that ended with a reward; `errors`, the first few;
        `tasks`, each with the number of its `rollouts` and the `metrics` of each completed one.
    """
    tasks = [{"rollouts": one.total_runs, "metrics": list(one.metrics)} for one in statuses]
    errors = [status.message for status in statuses if status.message][:8]
    if missing:
        tasks += [{"rollouts": rollouts, "metrics": []} for rollouts in missing]
        errors.append(f"{len(missing)} tasks did not end in time, or their process died")
    return {
        "rollouts": sum(task["rollouts"] for task in tasks),
        "completed": sum(len(task["metrics"]) for task in tasks),
        "errors": errors,
        "tasks": tasks,
    }


class AgentCoordinator(RolloutCoordinator):
    """Trinity's coordinator, whose results also count rollouts and keep their first errors."""

    def __init__(self, config: Config, processes: SharedProcesses) -> None:
        trinity_hooks.coordinator_results.apply()
        super().__init__(config)
        self._processes = processes
        # Rollouts of each task by batch of the evaluation under way.
        self._repeats: dict[Any, int] = {}

    async def submit_batch(self, *, batch_id: Any, tasks: list[Any], **options: Any) -> None:
        """Register a batch and schedule its tasks."""
        if options["batch_type"] == "eval":
            self._repeats[batch_id] = tasks[0].repeat_times if tasks else 1
        await super().submit_batch(batch_id=batch_id, tasks=tasks, **options)

    async def _init_experience_pipeline(self) -> None:
        await super()._init_experience_pipeline()
        if self.experience_pipeline is not None:
            options = workflow_args_of(self.config)
            add_grouping(self.experience_pipeline.operators, self.config, options)
            store = RunFolder(options["run_folder"]).rollouts
            # Behind the algorithm's own, which Trinity puts last.
            self.experience_pipeline.operators.append(NoteAdvantages(store))

    async def _init_scheduler(self) -> None:
        if self.config.mode == "serve":
            return
        self.scheduler = SlotScheduler(self.config, self._processes)
        await self.scheduler.start()

    async def rewards(self, batch_id: Any) -> list[list[float]]:
        """As `SlotScheduler.rewards`."""
        return await self.scheduler.rewards(batch_id)

    async def extend_batch(self, batch_id: Any, tasks: list[Any]) -> None:
        """Schedule further tasks of a batch that is not finalized yet."""
        self.pending_batches[batch_id].expected_task_count += len(tasks)
        self.scheduler.schedule(tasks, batch_id)

    async def process_experiences(self, payloads: list[bytes]) -> dict:
        """Send a step through the pipeline; a step without experiences is handed on as such.

        Without it a step that an algorithm filtered away would leave the trainer waiting.
        """
        metrics = await super().process_experiences(payloads)
        if self.experience_pipeline is None:
            return metrics
        if not payloads:
            await self.experience_pipeline.output.write([])
            metrics["experience_pipeline/experience_count"] = 0.0
        return metrics

    def _build_batch_result(self, batch_state: BatchState, pipeline_metrics: dict) -> dict:
        found = batch_state.statuses
        # Its own numbers are means of the tasks' means.
        bare = {number: replace(status, metrics=[]) for number, status in found.items()}
        result = super()._build_batch_result(replace(batch_state, statuses=bare), pipeline_metrics)
        statuses = list(found.values())
        if batch_state.batch_type == "train":
            reports = [report for status in statuses for report in status.metrics]
            result["metrics"].update(step_metrics(reports))
            if compares_groups(self.config):
                groups = [rewards_of(status.metrics) for status in statuses]
                wanted = self.config.buffer.batch_size
                result["metrics"].update(group_metrics(groups, wanted))
            return {**result, **task_results(statuses, [])}
        # Trinity leaves out what did not end in time, which would flatter the rest.
        missing = batch_state.expected_task_count - len(statuses)
        repeats = self._repeats.pop(batch_state.batch_id, 1)
        return {**result, **task_results(statuses, [repeats] * missing)}


class InProcess:
    """What Trinity's Explorer takes for the handle of an actor, for an object in its own process.

    Trinity gives the coordinator a process, which would import all that the explorer's has
    imported, to wait for the same rollouts.
    """

    def __init__(self, behind: Any) -> None:
        self.behind = behind

    def __getattr__(self, name: str) -> "_Method":
        return _Method(getattr(self.behind, name))


class _Method:
    def __init__(self, method: Any) -> None:
        self._method = method

    def remote(self, *args: Any, **kwargs: Any) -> asyncio.Task:
        """Begin the call; its result is awaited."""
        return asyncio.ensure_future(self._method(*args, **kwargs))
