"""A runner process without Trinity and a model: what is left are processes, loop and watchdog."""

import asyncio
import os
from typing import Any

import ray

from rlagent.base.forwarding import forwarding
from rlagent.trinity.fates import Report
from rlagent.trinity.guard import Rollout, within
from rlagent.trinity.shared_loop import protect
from rlagent.trinity.watchdog import Watchdog, log_files


class StandInRunner:
    """Stands where AgentRunner does."""

    def __init__(self, config: Any, index: int, name: str) -> None:
        self._name = name
        self._watchdog: Watchdog | None = None

    async def prepare(self) -> None:
        """Protect the loop, as AgentRunner does."""
        loop = asyncio.get_running_loop()
        protect(loop)
        self._watchdog = Watchdog(loop, log_files(self._name)).start()

    async def run_rollout(self, key: str, agent: str, timeout: float, **arguments: Any) -> Any:
        """The process of a rollout, and what its agent returned or how it failed."""
        import meddling_agents

        rollout = Rollout(key, timeout)
        function = getattr(meddling_agents, agent)
        try:
            return os.getpid(), await within(rollout, function(**arguments))
        except Exception as error:
            return os.getpid(), f"{type(error).__name__}: {error}"
        finally:
            self._watchdog.ended(rollout)

    async def watch(self, seconds: float) -> Report:
        """See AgentRunner."""
        return await self._watchdog.watch(seconds) if self._watchdog else Report()


@forwarding("prepare", "run_rollout")
class StandInActor:
    """Stands where RunnerActor does."""

    def __init__(self, config: Any, index: int, name: str) -> None:
        self.behind = StandInRunner(config, index, name)

    @ray.method(concurrency_group="watch")
    async def watch(self, seconds: float) -> Report:
        """See RunnerActor."""
        return await self.behind.watch(seconds)
