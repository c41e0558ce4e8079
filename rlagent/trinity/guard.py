"""What one rollout may do to the process that it shares with others: fail, and nothing else.

Runs the code of a workflow and its judge within a time of its own, in a task of its own, and turns
whatever leaves it into a result or an Exception of this rollout. What protects the event loop
underneath is shared_loop.py's.
"""

import asyncio
import contextvars
import os
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from rlagent.base.programs import Program

T = TypeVar("T")

CANCEL_SECONDS = 1.0
"""Seconds that cancelled code may take to end; what still runs after that is abandoned."""

KEY_BYTES = 256
"""Bytes of a rollout's key that are kept where they can be read after its process died."""

current: contextvars.ContextVar["Rollout | None"] = contextvars.ContextVar("rollout", default=None)
"""The rollout whose code runs, also in the tasks and threads that it starts."""


under_way: set["Rollout"] = set()
"""The rollouts of this process that are waited for."""

on_first: list[Callable[[], None]] = []
"""Called when a rollout begins while no other is under way, before any of its code runs."""


class AgentAbortError(RuntimeError):
    """Agent code did what would have ended more than its rollout; the message says what."""

    says_all = True


class ExitCalled(SystemExit):
    """Raised in place of ending the process at once, by `os._exit` or `os.abort`."""


class Rollout:
    """One rollout under way.

    Args:
        key: Names it among those of its run.
        timeout: Seconds that it may take, without those in which others kept it waiting; None:
            any number.
    """

    def __init__(self, key: str, timeout: float | None = None) -> None:
        self.key = key
        self.key_bytes = key.encode(errors="replace")[:KEY_BYTES].ljust(KEY_BYTES, b"\0")
        self.timeout = timeout
        self.began = time.monotonic()
        # Seconds in which the event loop stood still for others.
        self.kept_waiting = 0.0
        # Its threads, and tasks that went on after they were cancelled.
        self.elsewhere: set[threading.Thread | asyncio.Task[Any] | Future[Any]] = set()
        self.ended = False
        # Started by its code, while somebody wants to know.
        self.programs: list[Program] | None = None
        # What it has changed, see changes.py and streams.py.
        self.directory: str | None = None
        self.streams: dict[str, Any] = {}
        self.environment: dict[str, str | None] = {}

    def seconds_left(self) -> float | None:
        """Seconds until its time is over; None: it has no limit."""
        if self.timeout is None:
            return None
        return self.timeout + self.kept_waiting - (time.monotonic() - self.began)

    def goes_on(self) -> bool:
        """Whether some of its code still runs outside of what `within` waits for."""
        return any(
            one.is_alive() if isinstance(one, threading.Thread) else not one.done()
            for one in list(self.elsewhere)
        )


async def within(rollout: Rollout, work: Coroutine[Any, Any, T]) -> T:
    """The result of a rollout's work.

    Raises:
        TimeoutError: It took longer than `rollout.timeout`.
        AgentAbortError: It cancelled itself, or asked the process to end.
        Exception: Whatever else it raised.
    """
    context = contextvars.copy_context()
    context.run(current.set, rollout)
    was_idle = not under_way
    under_way.add(rollout)
    if was_idle:
        for call in on_first:
            call()
    task = asyncio.get_running_loop().create_task(_outcome(work), context=context)
    try:
        while not task.done():
            left = rollout.seconds_left()
            if left is not None and left <= 0:
                break
            await asyncio.wait({task}, timeout=left)
        if not task.done():
            await _cancel(task, rollout)
            raise TimeoutError(f"a rollout took longer than workflow.timeout={rollout.timeout} s")
    except asyncio.CancelledError:
        # Nobody wants this rollout any more.
        task.cancel()
        raise
    finally:
        rollout.ended = True
        under_way.discard(rollout)
    if task.cancelled():
        raise AgentAbortError("the workflow was cancelled by agent code (CancelledError)")
    result, error = task.result()
    if error is not None:
        raise error
    return result


async def _cancel(task: asyncio.Task[Any], rollout: Rollout) -> None:
    task.cancel()
    await asyncio.wait({task}, timeout=CANCEL_SECONDS)
    if not task.done():
        rollout.elsewhere.add(task)


async def _outcome(work: Awaitable[T]) -> tuple[Any, Exception | None]:
    """The result of work, or what it raised: an asyncio task passes on Exceptions only."""
    process = os.getpid()
    try:
        return await work, None
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return None, as_exception(error)
    except BaseException as error:
        return None, as_exception(error)
    finally:
        end_copy_of(process)


def end_copy_of(process: int) -> None:
    """End this process if it is a copy of the one with that id, which agent code has forked.

    Otherwise both would go on with the rollouts of the original.
    """
    if os.getpid() != process:
        REALLY_EXIT(0)


REALLY_EXIT = os._exit
"""The function itself, which shared_loop.py puts another in front of."""


def as_exception(error: BaseException) -> Exception:
    """What agent code raised, as an Exception: anything else would end more than its rollout."""
    if isinstance(error, Exception):
        return error
    if isinstance(error, ExitCalled):
        words = f"the agent called {error}"
    elif isinstance(error, SystemExit):
        words = f"the agent called sys.exit({'' if error.code is None else repr(error.code)})"
    elif isinstance(error, asyncio.CancelledError):
        words = "the agent raised CancelledError, though nobody had cancelled its rollout"
    else:
        words = f"the agent raised {type(error).__name__}"
    if error.args and not isinstance(error, SystemExit):
        words = f"{words}: {error}"
    found = AgentAbortError(words)
    found.__context__ = error
    return found.with_traceback(error.__traceback__)
