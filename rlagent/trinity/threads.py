"""Runs what is no coroutine of a rollout in a thread of its own."""

import asyncio
import contextvars
import functools
import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from rlagent.trinity.changes import in_thread_of
from rlagent.trinity.guard import as_exception, current, end_copy_of

T = TypeVar("T")


async def in_thread(function: Callable[..., T], **arguments: Any) -> T:
    """Call a function in a thread of its own, so that it leaves nothing in one of another rollout.

    asyncio's own threads are a few per core: rollouts, which mostly wait, would queue there, and
    those that never end would block it for good.
    """
    loop = asyncio.get_running_loop()
    rollout = current.get()
    ended: asyncio.Future[tuple[Any, Exception | None]] = loop.create_future()
    bound = functools.partial(contextvars.copy_context().run, function, **arguments)
    process = os.getpid()

    def report(result: Any, error: Exception | None) -> None:
        if not ended.done():
            ended.set_result((result, error))

    def call() -> None:
        outcome: tuple[Any, Exception | None]
        try:
            outcome = (bound(), None)
        except BaseException as error:
            outcome = (None, as_exception(error))
        finally:
            end_copy_of(process)
        loop.call_soon_threadsafe(report, *outcome)

    thread = threading.Thread(target=in_thread_of(rollout, call), name="workflow", daemon=True)
    if rollout is not None:
        # A thread cannot be ended from outside.
        rollout.elsewhere.add(thread)
    thread.start()
    result, error = await ended
    if error is not None:
        raise error
    return result
