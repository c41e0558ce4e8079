"""Trinity's runner, as one process for many rollouts; processes.py starts and replaces it."""

import asyncio
import gc
from collections.abc import Awaitable
from typing import Any

import ray

from rlagent.upstream import trinity as trinity_patches
from rlagent.upstream import trinity_hooks, trinity_imports

trinity_imports.without_vllm.apply()

from trinity.common.config import Config  # noqa: E402
from trinity.explorer.workflow_runner import WorkflowRunner  # noqa: E402

from rlagent.trinity import changes, shared_loop, workflow  # noqa: E402
from rlagent.trinity.fates import Report  # noqa: E402
from rlagent.trinity.guard import as_exception  # noqa: E402
from rlagent.trinity.watchdog import Watchdog, log_files  # noqa: E402

trinity_patches.fast_payloads.apply()


class AskedOnce:
    """The handle of an engine. Rollouts that ask for its weights' version at the same time, as at
    the beginning of a step, share one call: each call of an actor costs 1 ms."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._asked: asyncio.Future[int] | None = None

    @property
    def get_model_version(self) -> "AskedOnce":
        """Its `remote` is that of the engine's method."""
        return self

    def remote(self) -> Awaitable[int]:
        """Ask, unless an answer is on its way."""
        if self._asked is None or self._asked.done():
            self._asked = asyncio.ensure_future(self._ask())
        # One that is cancelled does not take the answer from the others.
        return asyncio.shield(self._asked)

    async def _ask(self) -> int:
        return await self._handle.get_model_version.remote()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handle, name)


class AgentRunner(WorkflowRunner):
    """Trinity's runner, set up for many rollouts at once.

    A class of ours also so that its module can be imported without vLLM.
    """

    def __init__(self, config: Config, index: int, name: str) -> None:
        trinity_hooks.runner_rollouts.apply()
        # Trinity's constructor looks for the engine, which loads while this process imports: that
        # is left to prepare().
        self._config, self._index, self._name, self._made = config, index, name, False
        self._watchdog: Watchdog | None = None
        self._running: dict[str, workflow.AgentWorkflow] = {}
        # With it comes AgentScope; else the first rollouts would wait for it.
        import rlagent.trinity.recording  # noqa: F401

    async def prepare(self) -> None:
        """Reach the engine, and spare the garbage collector what was imported."""
        if not self._made:
            explorer = self._config.explorer
            super().__init__(
                self._config,
                self._index % explorer.rollout_model.engine_num,
                [self._index % model.engine_num for model in explorer.auxiliary_models],
                self._index,
            )
            self.model_wrapper.model = AskedOnce(self.model_wrapper.model)
            self._made = True
        loop = asyncio.get_running_loop()
        shared_loop.protect(loop)
        await super().prepare()
        # A rollout makes thousands of small objects: with the default thresholds a fifth of
        # this process went into walking over all loaded modules again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        self._watchdog = Watchdog(loop, log_files(self._name)).start()

    async def run_rollout(self, key: str, task: bytes, batch_id: str, run: int) -> Any:
        """Run one rollout of a task; returns Trinity's Status and its experiences.

        Args:
            key: Names it among those of its run.
            task: Trinity's, pickled: each rollout has one of its own.
        """
        return await self.run_task(
            task=ray.cloudpickle.loads(task), batch_id=batch_id, repeat_times=1, run_id_base=run
        )

    async def watch(self, seconds: float) -> Report:
        """See `Watchdog.watch`."""
        if self._watchdog is None:
            return Report()
        report = await self._watchdog.watch(seconds)
        if report.fate is not None and report.fate.key in self._running:
            self._running[report.fate.key].lost(report.fate.cause)
        return report

    async def _execute_single_run(
        self, workflow: Any, task: Any, run_index: int, run_id_base: int
    ) -> Any:
        workflow.number = run_id_base + run_index
        workflow.key = f"{task.batch_id}/{task.task_id}/{workflow.number}"
        workflow.model_version = self.runner_state["model_version"]
        self._running[workflow.key] = workflow
        try:
            return await super()._execute_single_run(workflow, task, run_index, run_id_base)
        finally:
            del self._running[workflow.key]
            if workflow.rollout is not None:
                changes.reset(workflow.rollout)
                if self._watchdog is not None:
                    self._watchdog.ended(workflow.rollout)
            changes.keep_logging()

    async def _run_workflow(self, workflow_instance: Any) -> Any:
        try:
            return await super()._run_workflow(workflow_instance)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            # Such as SystemExit where the module of a workflow is imported.
            raise as_exception(error) from None
