"""The processes that run agent code, shared by the slots of the scheduler.

What runs in them is rollout.py's; nothing of it is imported here, so that they can start before
anything else does.
"""

from typing import Any

import ray

from rlagent.trinity.forwarding import forwarding

CONCURRENCY = 1000
"""Tasks that one runner process may interleave; the number of slots is the real limit."""


@forwarding("prepare", "run_task", "get_runner_state")
class RunnerActor:
    """The process of `rlagent.trinity.rollout.AgentRunner`; arguments as there."""

    def __init__(self, config: Any, index: int, processes: int) -> None:
        from rlagent.trinity.rollout import AgentRunner

        self.behind = AgentRunner(config, index, processes)


class SharedProcesses:
    """The runner processes behind the slots; made again when one died."""

    def __init__(self, config: Any, number: int) -> None:
        self.config = config
        # Each engine is reached by one process at least.
        self.number = max(1, number, config.explorer.rollout_model.engine_num)
        self._handles: dict[int, Any] = {}
        self._prepared: dict[int, Any] = {}

    def start(self) -> None:
        """Start them all; none needs an engine before it is prepared."""
        for index in range(self.number):
            self._process(index)

    def handle(self, slot: int) -> Any:
        """The process that serves a slot; it is being prepared."""
        index = slot % self.number
        process = self._process(index)
        if index not in self._prepared:
            self._prepared[index] = process.prepare.remote()
        return process

    async def prepare(self, slot: int) -> None:
        """Wait until the process that serves a slot has reached its engine."""
        self.handle(slot)
        await self._prepared[slot % self.number]

    def forget(self, handle: Any) -> None:
        """Have a process made anew on its next use."""
        for index, known in list(self._handles.items()):
            if known == handle:
                del self._handles[index]
                self._prepared.pop(index, None)
                ray.kill(known)

    def _process(self, index: int) -> Any:
        if index not in self._handles:
            self._handles[index] = (
                ray.remote(RunnerActor)
                .options(
                    num_cpus=0,
                    namespace=self.config.ray_namespace,
                    scheduling_strategy="SPREAD",
                    max_concurrency=CONCURRENCY,
                )
                .remote(self.config, index, self.number)
            )
        return self._handles[index]
