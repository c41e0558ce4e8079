"""The explorer actor: Trinity's Explorer with a loop that fails loudly and evaluates on the edges.

Trinity's own loop logs an error and goes on as if it had finished, evaluates before it takes over
the new weights, and cannot evaluate after the last step.
"""

import asyncio
import time
from copy import deepcopy
from typing import Any

from rlagent.upstream import trinity as trinity_patches
from rlagent.upstream import trinity_hooks, trinity_imports

trinity_imports.without_vllm.apply()
trinity_imports.without_services.apply()

from trinity.buffer.task_scheduler import get_taskset_scheduler  # noqa: E402
from trinity.common.config import Config, InferenceModelConfig  # noqa: E402
from trinity.common.constants import RunningStatus, SyncStyle  # noqa: E402
from trinity.common.models.allocator import (  # noqa: E402
    Allocator,
    BundleResult,
    get_model_wrapper,
)
from trinity.common.models.model import ModelWrapper  # noqa: E402
from trinity.explorer.explorer import Explorer  # noqa: E402

from rlagent.backends.registry import engine_of_type, load  # noqa: E402
from rlagent.base import alive  # noqa: E402
from rlagent.base.cause import cause_in  # noqa: E402
from rlagent.base.groups import live, more_groups  # noqa: E402
from rlagent.base.measures import evaluation_metrics  # noqa: E402
from rlagent.base.startup import Marks  # noqa: E402
from rlagent.trinity import refill, rewind  # noqa: E402
from rlagent.trinity.buffer import find_queue  # noqa: E402
from rlagent.trinity.lag import closes_with_a_sync, next_sync, syncs_left  # noqa: E402
from rlagent.trinity.monitor import RunFolderMonitor  # noqa: E402
from rlagent.trinity.processes import SharedProcesses  # noqa: E402
from rlagent.trinity.rollout import AgentCoordinator, InProcess  # noqa: E402

SAMPLE = "0/signal"
"""The batch of a sample before training, as records name it."""


class RolloutFailedError(RuntimeError):
    """Every rollout of a step failed; the message holds the first cause."""

    says_all = True


class AgentAllocator(Allocator):
    """Trinity's allocator, with engines of ours."""

    def allocate_bundles(self) -> BundleResult:
        """What Trinity asks Ray for; an engine on the CPU asks for no GPU."""
        result = super().allocate_bundles()
        if not engine_of_type(self.config.rollout_model.engine_type).on_gpus:
            for bundle in result.bundles:
                bundle.pop("GPU", None)
        return result

    async def create_engine(
        self, config: InferenceModelConfig, role: str, engine_id: int
    ) -> ModelWrapper:
        """Create one engine and wait until it answers."""
        engine = engine_of_type(config.engine_type)
        config = deepcopy(config)
        config.engine_id = engine_id
        if not engine.on_gpus:
            config.gpu_per_engine = 0
        names = [self.get_actor_name(role, engine_id, node) for node in range(config.nnodes)]
        bundles = [(name, self.bundle_result.actor_bundle_map[name]) for name in names]
        return await get_model_wrapper(load(engine.actor), config, self.pg, bundles)


class AgentExplorer(Explorer):
    """Explores the asked steps, syncing weights between them; raises when it cannot."""

    explore_step_num: int

    def __init__(self, config: Config, processes: SharedProcesses) -> None:
        trinity_hooks.explorer_loop.apply()
        self._marks = Marks()
        self._marks.mark("explorer_process")
        trinity_patches.monitor.apply(config.monitor.monitor_type, RunFolderMonitor)
        self._trains = config.mode != "bench"
        with trinity_patches.synchronizer.apply(made=self._trains):
            super().__init__(config)
        self.model_allocator = AgentAllocator(config.explorer)
        self._engine = engine_of_type(config.explorer.rollout_model.engine_type)
        self.total_steps = config.buffer.total_steps
        self._processes = processes
        self._queue: Any = None
        self._began: dict[int, float] = {}
        # Seconds before a step in which weights were waited for and taken over.
        self._synced: dict[int, float] = {}
        self._work_done = (0.0, 0.0)
        # Groups explored for a step at most, in steps; 1: its own.
        self._refill_limit = refill.limit_of(config)
        if self.taskset is not None:
            refill.weigh(self.taskset, config)
        if self.taskset is not None and self._refill_limit > 1:
            refill.allow_more(self.taskset, self._refill_limit)

    async def prepare(self) -> int:
        """Start engines and runners.

        Returns:
            The step that exploring continues from; 0 for a new run.
        """
        self._marks.mark("explorer_made")
        alive.doing("starting engines and runners")
        self.models, self.auxiliary_models = await self.model_allocator.create_all_models()
        self._marks.mark("engines_ready")
        if self._trains and not self.use_nccl_sync and self._engine.fetches_weights:
            address, port = await self.models[0].get_available_address_async(random_port=True)
            await self.setup_weight_sync_group(address, port)
        if self._trains:
            self._queue = find_queue(self.config)
        coordinator = AgentCoordinator(self.config, self._processes)
        await coordinator.prepare()
        self.rollout_coordinator = InProcess(coordinator)
        self._marks.mark("runners_ready")
        if self._trains:
            await self.synchronizer.set_explorer_status.remote(RunningStatus.RUNNING)
        return self.explore_step_num

    async def startup_marks(self) -> dict[str, float]:
        """When this actor and its engine were ready; see startup.py."""
        engine = {}
        if "startup_marks" in self._engine.reports:
            engine = await self.models[0].model.startup_marks.remote()
        return {**self._marks.times(), **engine}

    async def explore(self) -> int:
        """Explore up to `buffer.total_steps`, with evaluations every `explorer.eval_interval`.

        Returns:
            The last step explored.

        Raises:
            RolloutFailedError: Every rollout of a step failed.
        """
        while self.total_steps is None or self.explore_step_num < self.total_steps:
            # With lag a step ends after the next one has begun.
            self._began[self.explore_step_num + 1] = time.monotonic()
            alive.doing(f"exploring step {self.explore_step_num + 1}")
            try:
                going_on = await self.explore_step()
            except StopAsyncIteration:
                break
            if not going_on:
                break
            self._remember()
            waited = time.monotonic()
            alive.doing(f"waiting for weights after step {self.explore_step_num}")
            if await self.need_sync():
                await self._ask_for_weights()
                await self.sync_weight()
            self._synced[self.explore_step_num + 1] = time.monotonic() - waited
            interval = self.config.explorer.eval_interval
            last = self.explore_step_num == self.total_steps
            if interval and not last and self.explore_step_num % interval == 0:
                # Between two syncs rollouts of the step may be under way still.
                await self.finish_current_steps()
                await self.evaluate(self.explore_step_num)
        await self.finish_current_steps()
        explored_all = self.explore_step_num == self.total_steps
        if self._queue is not None:
            await self._queue.end.remote(self.total_steps if explored_all else 0)
        if explored_all:
            await self._meet_the_trainer()
        await self.save_checkpoint()
        return self.explore_step_num

    async def _ask_for_weights(self) -> None:
        """Let the trainer go up to the step whose weights are waited for with what it has got.

        Where the explorer decides when to sync, the trainer answers with the weights it has.
        """
        if self._queue is not None and self.sync_style != SyncStyle.EXPLORER_DRIVEN:
            await self._queue.expect.remote(next_sync(self.model_version, self._sync_interval()))

    def _sync_interval(self) -> int:
        """Training steps between two syncs."""
        return self.config.synchronizer.trainer_sync_interval or self.sync_interval

    async def _meet_the_trainer(self) -> None:
        """Take part in the syncs that the trainer still has ahead when exploring has ended.

        With lag it has some, and a sync by NCCL waits for both sides; the last of them also
        brings the weights that the closing evaluation measures. Where the explorer decides when
        to sync, the trainer waits for none.
        """
        if not self.use_nccl_sync or self.sync_style == SyncStyle.EXPLORER_DRIVEN:
            return
        interval, closing = self._sync_interval(), closes_with_a_sync(self.config)
        for _ in range(syncs_left(self.model_version, self.explore_step_num, interval, closing)):
            before = self.model_version
            await self._nccl_weights_update()
            if self.model_version == before:
                # The trainer was asked to stop.
                return

    async def evaluate(self, step: int) -> dict[str, float]:
        """Measure held-out success with the weights that the engine has, and log it under `step`.

        Returns:
            As `measures.evaluation_metrics`, with `eval/model_version`, the step whose weights
            were measured: an earlier one between two syncs, and with lag. Empty when there are no
            held-out tasks.

        Raises:
            RolloutFailedError: Every rollout of a set failed.
        """
        alive.doing(f"evaluating at step {step}")
        if not self._trains:
            # Of the checkpoint that the engines have loaded.
            self.model_version = step
        explored = self.explore_step_num
        self.explore_step_num = step
        started = time.monotonic()
        results = {}
        try:
            await self.eval()
            while self.pending_eval_tasks:
                eval_step, name = self.pending_eval_tasks.popleft()
                results[name] = await self.rollout_coordinator.finalize_eval_batch.remote(
                    f"{eval_step}/{name}"
                )
        finally:
            self.explore_step_num = explored
        if not results:
            return {}
        for name, result in results.items():
            which = f" of {name}" if len(results) > 1 else ""
            _raise_if_all_failed(result, f"the evaluation{which} at step {step}")
        metrics = evaluation_metrics(results)
        if not metrics:
            return {}
        metrics["eval/model_version"] = float(max(0, self.model_version))
        metrics["time/eval"] = time.monotonic() - started
        # Not counted with the next step.
        await self._engine_work()
        self.monitor.log(metrics, step)
        return metrics

    async def sample(self, number: int) -> dict[str, Any]:
        """Roll out groups of training tasks, as training would, for their numbers alone.

        Args:
            number: Of groups, at most.

        Returns:
            `tasks`, as of `rollout.task_results`, and the `seconds` that they took.

        Raises:
            RolloutFailedError: Every rollout failed.
        """
        alive.doing("sampling training tasks")
        # Another reader of the tasks: the run's own place in them stays.
        taskset = get_taskset_scheduler({}, self.config)
        refill.weigh(taskset, self.config)
        refill.allow_more(taskset, number)
        tasks = await refill.read_more(taskset, min(number, refill.size_of(taskset)), (0,))
        started = time.monotonic()
        await self.rollout_coordinator.submit_batch.remote(
            batch_id=SAMPLE, tasks=tasks, batch_type="eval"
        )
        result = await self.rollout_coordinator.finalize_eval_batch.remote(SAMPLE)
        _raise_if_all_failed(result, "the sample")
        # Not counted with the first step.
        await self._engine_work()
        return {"tasks": result["tasks"], "seconds": time.monotonic() - started}

    async def sync_from_trainer(self) -> None:
        """Take over the newest weights, also those of the last step, which Trinity leaves out."""
        if not self.use_nccl_sync:
            version = await self.synchronizer.get_latest_model_version.remote()
            if version > self.model_version:
                await self._pull_latest_weights()

    async def _engine_work(self) -> dict[str, float]:
        """What the engines did since the last call: seconds in forward passes, tokens; of those
        that count it."""
        if "work_done" not in self._engine.reports:
            return {}
        done = await asyncio.gather(*(model.model.work_done.remote() for model in self.models))
        seconds, tokens = (float(sum(column)) for column in zip(*done, strict=True))
        before, self._work_done = self._work_done, (seconds, tokens)
        return {
            "time/generation": (seconds - before[0]) / len(done),
            "tokens/generated": tokens - before[1],
        }

    def _remember(self) -> None:
        """Note the position in the tasks after the step just read (see rewind.py)."""
        state = {
            "latest_iteration": self.explore_step_num,
            "taskset_states": self.taskset.state_dict() if self.taskset else [],
        }
        rewind.remember(self.config.checkpoint_job_dir, state)

    async def _refill(self, step: int) -> None:
        """Explore further groups until the step has its own number of groups that are not dead."""
        wanted, read = self.config.buffer.batch_size, False
        while self.taskset is not None:
            groups = await self.rollout_coordinator.rewards.remote(step)
            if not any(groups):
                # All failed, which ends the run.
                break
            more = more_groups(wanted, live(groups), len(groups), self._refill_limit)
            seed = (self.config.explorer.rollout_model.seed, step, len(groups))
            tasks = await refill.read_more(self.taskset, more, seed) if more else []
            if not tasks:
                break
            alive.doing(f"refilling step {step}: {live(groups)} of {wanted} groups")
            await self.rollout_coordinator.extend_batch.remote(step, tasks)
            read = True
        if read:
            self._remember()

    async def _finish_explore_step(self, step: int) -> None:
        metrics: dict[str, float] = {"rollout/model_version": self.model_version}
        if self._refill_limit > 1:
            await self._refill(step)
        result = await self.rollout_coordinator.finalize_train_batch.remote(step)
        _raise_if_all_failed(result, f"step {step}")
        if self.taskset is not None:
            self.taskset.feedback(result["metrics"])
        metrics.update(result["metrics"])
        metrics["rollout/rollouts"] = float(result["rollouts"])
        metrics["rollout/failed_share"] = 1 - result["completed"] / result["rollouts"]
        count = result["metrics"].get("experience_pipeline/experience_count", 0.0)
        metrics["rollout/experiences"] = float(count)
        metrics["time/explore_step"] = time.monotonic() - self._began.pop(step)
        metrics["time/explorer_sync"] = self._synced.pop(step, 0.0)
        metrics.update(await self._engine_work())
        self.monitor.log(metrics, step)


def _raise_if_all_failed(result: dict[str, Any], where: str) -> None:
    if result["rollouts"] and not result["completed"]:
        errors = result["errors"]
        # Without the name that workflow.py gives to whatever an agent raised.
        first = cause_in(errors[0]).removeprefix("RolloutError: ") if errors else "no cause given"
        raise RolloutFailedError(f"all {result['rollouts']} rollouts of {where} failed: {first}")
