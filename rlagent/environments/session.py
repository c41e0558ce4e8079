"""An environment as a workflow has it: opened, acted in and closed, whatever happens meanwhile."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Protocol

from rlagent.base.in_rollout import at_end, happened
from rlagent.base.texts import shown
from rlagent.environments.process import leased
from rlagent.environments.protocol import (
    EnvironmentFailedError,
    EnvironmentGarbageError,
    NoStepError,
    Step,
    as_step,
)
from rlagent.environments.reference import name_of
from rlagent.environments.thread import InThread, here

CALL_SECONDS = 30.0
"""Seconds that a call of an environment may take, unless the workflow says otherwise."""

START_SECONDS = 120.0
"""Seconds that an environment may take to be made: some download or compile."""

CLOSE_SECONDS = 0.5
"""Seconds that `close` may take in a rollout that failed: shorter than a cancelled one may take."""

_KEPT = 2000
"""Characters of an observation that the record of a rollout keeps."""

WHERE = ("process", "thread", "loop")


class Host(Protocol):
    """Where an environment runs."""

    async def call(self, method: str, arguments: Mapping[str, Any], seconds: float) -> Any:
        """Call a method; what it returned.

        Raises:
            EnvironmentFailedError: It did not end well.
        """

    def kill(self) -> None:
        """End it at once, as far as that is possible."""

    async def give_back(self, seconds: float) -> None:
        """End its use by this rollout, in so many seconds."""


class Session:
    """One environment in the hands of one rollout; `opened` makes it.

    Args:
        name: What records and errors call it.
        host: Where it runs.
        seconds: That a call may take.
    """

    def __init__(self, name: str, host: Host, seconds: float) -> None:
        self.name = name
        self._host = host
        self.seconds = seconds
        self.steps = 0
        # Of the episode so far.
        self.reward = 0.0
        self.done = False

    async def reset(self, **options: Any) -> Step:
        """Begin an episode."""
        found = await self._call("reset", options)
        self.steps, self.reward, self.done = 0, found.reward, found.done
        self._note(found)
        return found

    async def step(self, action: Any) -> Step:
        """Act once.

        Raises:
            EnvironmentFailedError: It did not end well; the environment is of no use any more.
        """
        found = await self._call("step", {"action": action})
        self.steps += 1
        self.reward += found.reward
        self.done = found.done
        self._note(found, action=action)
        return found

    async def _call(self, method: str, arguments: Mapping[str, Any]) -> Step:
        try:
            return as_step(await self._host.call(method, arguments, self.seconds))
        except NoStepError as error:
            self._host.kill()
            raise EnvironmentGarbageError(f"{self.name}.{method}() {error}") from None
        except (EnvironmentFailedError, asyncio.CancelledError):
            self._host.kill()
            raise

    def _note(self, step: Step, **event: Any) -> None:
        seen = step.observation
        if len(text := seen if isinstance(seen, str) else str(seen)) > _KEPT:
            seen = f"{text[:_KEPT]} ... ({len(text):,} characters)"
        if "action" in event and not isinstance(event["action"], (str, int, float, dict, list)):
            event["action"] = shown(repr(event["action"]), 200)
        happened(
            {
                "environment": self.name,
                **event,
                "observation": seen,
                "reward": step.reward,
                "done": step.done,
            }
        )


@contextlib.asynccontextmanager
async def opened(
    make: str | Callable[..., Any],
    *,
    args: Mapping[str, Any] | None = None,
    where: str = "process",
    call_timeout: float = CALL_SECONDS,
    start_timeout: float = START_SECONDS,
) -> AsyncIterator[Session]:
    """An environment for one rollout, closed when the rollout ends, also where it is cancelled or
    takes too long.

    Args:
        make: A class or function that returns an environment, or `module:name` of one.
        args: Its keyword arguments; JSON values, where it runs in a process.
        where: `process`: in one of its own, which is ended when it hangs or dies, and else used
            again by later rollouts, so that it starts once; `thread`: in one of its own, made for
            this rollout: cheap, but nothing ends a thread that hangs, so that the process that runs
            agent code is replaced; `loop`: in the event loop of the rollouts, for environments that
            are async and never block.
        call_timeout: Seconds that `reset` and `step` may take, and `close` behind an episode.
        start_timeout: Seconds that it may take to be made.

    Raises:
        EnvironmentFailedError: It cannot be made.
    """
    if where not in WHERE:
        raise ValueError(f"where={where!r}: is none of {', '.join(WHERE)}")
    name, given = name_of(make), dict(args or {})
    host: Host
    if where == "process":
        host = await leased(make, given, start_timeout)
    elif where == "thread":
        host = await InThread.made(make, given, start_timeout)
    else:
        host = await here(make, given, start_timeout)
    forget = at_end(host.kill)
    try:
        yield Session(name, host, call_timeout)
    except BaseException:
        with contextlib.suppress(EnvironmentFailedError):
            await _give_back(host, CLOSE_SECONDS)
        raise
    else:
        await _give_back(host, call_timeout)
    finally:
        forget()


async def _give_back(host: Host, seconds: float) -> None:
    # In a task of its own: it goes on where the rollout is cancelled meanwhile.
    await asyncio.shield(asyncio.ensure_future(host.give_back(seconds)))
