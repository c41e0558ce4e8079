"""Environments in a thread of their own, made for one rollout, or in the event loop itself."""

import asyncio
import contextlib
import inspect
import queue
from collections.abc import Callable, Mapping
from typing import Any

from rlagent.base.cause import cause_of
from rlagent.environments.finisher import Finisher
from rlagent.environments.protocol import (
    EnvironmentFailedError,
    EnvironmentRaisedError,
    EnvironmentTimeoutError,
)
from rlagent.environments.reference import found, name_of
from rlagent.trinity.threads import in_thread


class InThread:
    """An environment whose calls all run in one thread, in their order.

    Python cannot end a thread. One that hangs is left behind, as a thread of its rollout: the
    process that runs agent code gets no more rollouts, and ends with those that it has.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._asked: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._left = False
        self._environment: Any = None
        self._finished: Finisher
        self._thread: asyncio.Future[None]

    @classmethod
    async def made(
        cls, make: str | Callable[..., Any], args: Mapping[str, Any], seconds: float
    ) -> "InThread":
        """Make an environment in a thread of its own."""
        host = cls(name_of(make))
        host._thread = asyncio.ensure_future(in_thread(host._serve))
        try:
            host._environment = await host._in_thread("made", lambda: found(make)(**args), seconds)
        except BaseException:
            host.kill()
            await asyncio.wait({host._thread}, timeout=0.1)
            raise
        return host

    async def call(self, method: str, arguments: Mapping[str, Any], seconds: float) -> Any:
        """Call a method of the environment."""
        function = getattr(self._environment, method)
        return await self._in_thread(f"{method}()", lambda: function(**arguments), seconds)

    def kill(self) -> None:
        """Have the thread end when what it does ends; the environment is closed in it."""
        if not self._left:
            self._left = True
            self._asked.put(self._close)
            self._asked.put(None)

    async def give_back(self, seconds: float) -> None:
        """Close the environment."""
        if self._left:
            await asyncio.wait({self._thread}, timeout=seconds)
            return
        self._left = True
        try:
            await self._in_thread("close()", self._environment.close, seconds)
        finally:
            self._asked.put(None)
            await asyncio.wait({self._thread}, timeout=seconds)

    def _close(self) -> None:
        if self._environment is not None:
            # It has failed before: what more it raises is no news.
            with contextlib.suppress(Exception):
                self._finished(self._environment.close)

    def _serve(self) -> None:
        with Finisher() as self._finished:
            while (work := self._asked.get()) is not None:
                work()

    async def _in_thread(self, what: str, function: Callable[[], Any], seconds: float) -> Any:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Any] = loop.create_future()

        def report(result: Any, error: BaseException | None) -> None:
            if not ended.done():
                ended.set_result((result, error))

        def work() -> None:
            outcome: tuple[Any, BaseException | None]
            try:
                outcome = (self._finished(function), None)
            except BaseException as error:
                outcome = (None, error)
            if not loop.is_closed():
                loop.call_soon_threadsafe(report, *outcome)

        self._asked.put(work)
        try:
            async with asyncio.timeout(seconds):
                result, error = await ended
        except TimeoutError:
            raise too_late(self._name, what, seconds) from None
        if error is not None:
            raise EnvironmentRaisedError(f"{self._name}.{what} raised {cause_of(error)}") from error
        return result


class InLoop:
    """An environment whose coroutines run beside those of the rollouts."""

    def __init__(self, name: str, environment: Any) -> None:
        self._name = name
        self._environment = environment
        self._closed = False

    async def call(self, method: str, arguments: Mapping[str, Any], seconds: float) -> Any:
        """Call a method of the environment."""
        work = getattr(self._environment, method)
        return await _timed(self._name, f"{method}()", lambda: work(**arguments), seconds)

    def kill(self) -> None:
        """Nothing can end it; it is closed when it is given back."""

    async def give_back(self, seconds: float) -> None:
        """Close the environment."""
        if not self._closed:
            self._closed = True
            await _timed(self._name, "close()", self._environment.close, seconds)


async def here(make: str | Callable[..., Any], args: Mapping[str, Any], seconds: float) -> InLoop:
    """Make an environment that lives in this event loop."""
    name = name_of(make)
    return InLoop(name, await _timed(name, "made", lambda: found(make)(**args), seconds))


def too_late(name: str, what: str, seconds: float) -> EnvironmentTimeoutError:
    """What is raised of a call that did not end."""
    return EnvironmentTimeoutError(f"{name}.{what} took longer than {seconds:g} s")


async def _timed(name: str, what: str, work: Callable[[], Any], seconds: float) -> Any:
    try:
        async with asyncio.timeout(seconds) as limit:
            result = work()
            return await result if inspect.isawaitable(result) else result
    except TimeoutError as error:
        if limit.expired():
            raise too_late(name, what, seconds) from None
        raise EnvironmentRaisedError(f"{name}.{what} raised {cause_of(error)}") from error
    except EnvironmentFailedError:
        raise
    except Exception as error:
        raise EnvironmentRaisedError(f"{name}.{what} raised {cause_of(error)}") from error
