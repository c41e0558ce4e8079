"""The processes that run agent code: shared by the slots of the scheduler, replaced when lost.

Each rollout is a call of its own, whose result leaves the process when it ends. A process that a
rollout ends or holds up is replaced, and what else ran in it runs again (see fates.py). What runs
in them is runner.py's; nothing of it is imported here, so that they can start before anything
else does.
"""

import asyncio
import importlib.util
import math
import time
from collections.abc import Mapping
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayError, RayTaskError, TaskCancelledError

from rlagent.base import alive
from rlagent.base.cause import cause_of
from rlagent.base.forwarding import forwarding
from rlagent.records import warnings
from rlagent.trinity.fates import Fate, failed_by, suspected
from rlagent.trinity.watchdog import log_files, read_fate
from rlagent.upstream import ray as ray_patches

CONCURRENCY = 1000
"""Rollouts that one runner process may interleave; the number of slots is the real limit."""

MOST_STARTS = 3
"""Processes that fail to start, one after the other, before rollouts are given up: on a machine
that is busy a start may take longer than Ray allows."""

ASIDE = 4
"""Processes among which the rollouts of one that was blocked are divided when they run again. Each
other one that blocks takes its whole time to be found: in one process they would be found one after
the other."""

REPORT_SECONDS = 5.0
"""Seconds after which a runner process says that it is well."""

WAIT = 1.0
"""Seconds between two looks whether it has."""


def _warn(words: str) -> None:
    from trinity.utils.log import get_logger

    get_logger(__name__).warning(words)
    warnings.say(words)


async def answered(call: "asyncio.Future[Any]", seconds: float) -> bool:
    """Whether a call of another process ends within so many seconds.

    Those in which something blocked this process say nothing about the other one.
    """
    for _ in range(math.ceil(seconds / WAIT)):
        done, _ = await asyncio.wait({call}, timeout=WAIT)
        if done:
            return True
    return False


class RolloutLost(Exception):  # noqa: N818 - how a rollout ended
    """A rollout ended its process; the message is the cause in one line.

    Args:
        cause: The message.
        is_recorded: Whether its process has recorded it.
    """

    def __init__(self, cause: str, is_recorded: bool = False) -> None:
        super().__init__(cause)
        self.is_recorded = is_recorded


@forwarding("prepare", "run_rollout", "get_runner_state")
class RunnerActor:
    """The process of `rlagent.trinity.runner.AgentRunner`; arguments as there."""

    def __init__(self, config: Any, index: int, name: str) -> None:
        alive.start("runner", "running rollouts")
        from rlagent.trinity.runner import AgentRunner

        self.behind = AgentRunner(config, index, name)

    # In a thread of its own, so that it answers when the rollouts' thread does not.
    @ray.method(concurrency_group="watch")
    async def watch(self, seconds: float) -> Any:
        """See `AgentRunner.watch`."""
        return await self.behind.watch(seconds)


class Runner:
    """One runner process, as the process sees it that gives it rollouts.

    Args:
        handle: Of its actor.
        name: Its own among those of all times.
    """

    def __init__(self, handle: Any, name: str) -> None:
        self.handle = handle
        self.name = name
        self.rollouts = 0
        # Why it gets no more rollouts; it ends with those that it has.
        self.worn = ""
        self.fate: Fate | None = None
        self._prepared: Any = None
        self._watching: asyncio.Task[None] | None = None

    async def prepare(self, patience: float) -> None:
        """Wait until it has reached its engine.

        Args:
            patience: Seconds of silence after which it is ended.
        """
        if self._prepared is None:
            self._prepared = self.handle.prepare.remote()
        await self._prepared
        if self._watching is None:
            self._watching = asyncio.ensure_future(self._watch(patience))

    def kill(self, fate: Fate | None = None) -> None:
        """End the process."""
        self.fate = self.fate or fate
        ray.kill(self.handle)

    def why(self, error: RayError, started: bool) -> Fate:
        """Why the process ended, given what Ray says of it; `started`: whether it was ready."""
        if self.fate is None and not started:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            cause = f"no process for agent code could be started: {(lines or [''])[-1]}"
            self.fate = Fate(None, cause, certain=True)
        if self.fate is None:
            self.fate = read_fate(log_files(self.name))
        return self.fate

    async def _watch(self, patience: float) -> None:
        slow = ""
        while self.fate is None:
            asked = asyncio.ensure_future(self.handle.watch.remote(REPORT_SECONDS))
            if not await answered(asked, REPORT_SECONDS + patience):
                self.kill()
                return
            try:
                report = await asked
            except ActorDiedError:
                # The rollouts in it get to know.
                return
            except RayError as error:
                # Nothing would end a rollout that blocks it.
                self.worn = f"it cannot be watched: {cause_of(error)}"
                return
            self.worn = report.worn
            if report.slow and report.slow != slow:
                slow = report.slow
                _warn(f"a rollout blocks the event loop, and others wait: {slow}")
            if report.fate is not None:
                self.kill(report.fate)


def environment_of(env_vars: Mapping[str, Any]) -> dict[str, str]:
    """What a runner process needs in its environment that the others lack.

    Args:
        env_vars: explorer.env_vars.
    """
    # A variable costs a process of its own instead of one that Ray has ready.
    loop = ray_patches.asyncio_loops.apply() if importlib.util.find_spec("uvloop") else {}
    return {name: str(value) for name, value in env_vars.items()} | loop


class SharedProcesses:
    """The runner processes behind the slots."""

    actor: type = RunnerActor

    def __init__(self, config: Any, number: int) -> None:
        self.config = config
        # Each engine is reached by one process at least.
        self.number = max(1, number, config.explorer.rollout_model.engine_num)
        # Every rollout ends within its own time, which is shorter.
        self.patience = float(config.explorer.max_timeout)
        self._runners: dict[int, Runner] = {}
        self._made = 0
        # Where the rollouts of a group run, as long as there are any.
        self._groups: dict[Any, tuple[int, int]] = {}
        # For a rollout that is suspected of ending processes.
        self._alone = asyncio.Lock()
        self._suspects = 0
        # Processes that could not be started, one after the other.
        self._failed_starts = 0

    def start(self) -> None:
        """Start them all; none needs an engine before it is prepared."""
        for index in range(self.number):
            self._runner(index)

    async def prepare(self, index: int) -> Any:
        """Wait until a process has reached its engine; returns its handle."""
        runner = self._runner(index)
        await runner.prepare(self.patience)
        return runner.handle

    async def run(self, group: Any, key: str, arguments: dict[str, Any]) -> Any:
        """Run a rollout, again when another one ends its process.

        Args:
            group: Its group, whose rollouts go to the same engine, for what it has cached.
            key: Names it in what a process says of its end.
            arguments: Of `AgentRunner.run_rollout`.

        Raises:
            RolloutLost: It ended its process.
        """
        index, members = self._groups.get(group) or (self._least_busy(), 0)
        self._groups[group] = (index, members + 1)
        try:
            deaths = 0
            while True:
                fate = await self._try(index, key, arguments, alone=False)
                if not isinstance(fate, Fate):
                    return fate
                deaths += not fate.certain
                if suspected(fate, key, deaths):
                    return await self._run_alone(key, arguments)
                if fate.certain and fate.key:
                    index = self._aside()
        finally:
            index, members = self._groups.pop(group)
            if members > 1:
                self._groups[group] = (index, members - 1)

    async def _run_alone(self, key: str, arguments: dict[str, Any]) -> Any:
        self._suspects += 1
        try:
            async with self._alone:
                while isinstance(
                    found := await self._try(self.number, key, arguments, alone=True), Fate
                ):
                    pass
                return found
        finally:
            self._suspects -= 1
            if not self._suspects:
                self._forget(self.number)

    async def _try(self, index: int, key: str, arguments: dict[str, Any], alone: bool) -> Any:
        """What a rollout returns; the fate of its process if it was not the one that ended that."""
        runner = self._runner(index)
        runner.rollouts += 1
        call = None
        try:
            await runner.prepare(self.patience)
            self._failed_starts = 0
            call = runner.handle.run_rollout.remote(key=key, **arguments)
            return await call
        except asyncio.CancelledError:
            if call is not None:
                ray.cancel(call, force=False)
            raise
        except (RayTaskError, TaskCancelledError):
            raise
        except RayError as error:
            fate = runner.why(error, started=call is not None)
            if call is None and self._runners.get(index) is runner:
                self._failed_starts += 1
            self._forget(index, runner)
            if call is None:
                if self._failed_starts >= MOST_STARTS:
                    raise RolloutLost(fate.cause) from None
            elif failed_by(fate, key, alone):
                # One that is seen to end its process is recorded there, with its calls.
                seen = fate.certain and fate.key == key
                raise RolloutLost(fate.cause, is_recorded=seen) from None
            return fate
        finally:
            runner.rollouts -= 1
            if not runner.rollouts:
                if runner.worn and self._runners.get(index) is not runner:
                    runner.kill()
                elif index > self.number:
                    self._forget(index, runner)

    def _least_busy(self) -> int:
        return min(range(self.number), key=lambda index: self._runner(index).rollouts)

    def _aside(self) -> int:
        """The least busy of the places for what runs again; the one before them is `_alone`'s."""
        there = self._runners
        places = range(self.number + 1, self.number + 1 + ASIDE)
        return min(places, key=lambda place: there[place].rollouts if place in there else 0)

    def _forget(self, index: int, runner: Runner | None = None) -> None:
        """Have a process made again on its next use; the one that is known now, if it is given."""
        known = self._runners.get(index)
        if known is not None and runner in (None, known):
            del self._runners[index]
            known.kill()

    def _runner(self, index: int) -> Runner:
        known = self._runners.get(index)
        if known is not None and known.worn:
            _warn(f"a process for agent code is replaced: {known.worn}")
            if known.rollouts:
                # It goes on until they have ended.
                del self._runners[index]
            else:
                self._forget(index)
            known = None
        if known is None:
            known = self._runners[index] = self._new(index)
        return known

    def _new(self, index: int) -> Runner:
        self._made += 1
        name = f"runner-{index}-{self._made}-{time.time_ns() % 10**9}"
        actor = ray.remote(concurrency_groups={"watch": 2})(self.actor)
        variables = environment_of(self.config.explorer.env_vars)
        handle = actor.options(
            num_cpus=0,
            namespace=self.config.ray_namespace,
            scheduling_strategy="SPREAD",
            max_concurrency=CONCURRENCY,
            # Without one it takes a process that Ray has ready.
            **({"runtime_env": {"env_vars": variables}} if variables else {}),
        ).remote(self.config, index, name)
        return Runner(handle, name)
