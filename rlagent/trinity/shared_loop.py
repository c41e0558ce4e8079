"""An event loop that the code of many rollouts shares, and that none of them may end.

What asyncio lets any code do to its loop is kept to the rollout that does it: `SystemExit` and
`KeyboardInterrupt` in a task or callback, cancelling the tasks of others, stopping the loop,
filling up its pool of threads, forking a copy of it, `os._exit`. Directory, environment and
streams are changes.py's.
"""

import asyncio
import contextvars
import functools
import inspect
import mmap
import os
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from rlagent.trinity import changes
from rlagent.trinity.guard import REALLY_EXIT, ExitCalled, Rollout, current

POOL_THREADS = 1000
"""Of `asyncio.to_thread` and name look-ups: asyncio has a few per core, which code that never ends
would fill up for all rollouts."""


class _Shared:
    """The protected loop of this process."""

    loop: asyncio.AbstractEventLoop | None = None
    process = 0
    # Of the callback that runs now; the watchdog reads it from its thread.
    context: contextvars.Context | None = None
    # Memory for the key of the rollout whose code ran last; see watchdog.py.
    last: mmap.mmap | None = None
    ran: Rollout | None = None


shared = _Shared()


def protect(loop: asyncio.AbstractEventLoop) -> None:
    """Protect the loop of this process; called while it runs, in its thread."""
    if shared.loop is loop:
        return
    first = shared.loop is None
    shared.loop, shared.process = loop, os.getpid()
    loop.set_task_factory(_task)  # type: ignore[arg-type]
    loop.set_default_executor(_Pool(POOL_THREADS, "to_thread"))
    loop.stop = functools.partial(_stop, loop.stop)  # type: ignore[method-assign]
    changes.remember()
    if first:
        # asyncio ends a loop, and with it all rollouts, when a callback raises one of these; there
        # is no hook for it. Read in Python 3.11 and 3.12.
        assert "except (SystemExit, KeyboardInterrupt):" in inspect.getsource(_theirs)
        asyncio.Handle._run = _run  # type: ignore[attr-defined,method-assign]
        os._exit = _exit  # type: ignore[assignment]
        os.abort = functools.partial(_die, "os.abort()", os.abort)  # type: ignore[assignment]


_theirs = asyncio.Handle._run  # type: ignore[attr-defined]


def _run(self: Any) -> None:
    """asyncio's Handle._run; nothing that a callback raises ends the shared loop."""
    if self._loop is not shared.loop or shared.loop is None:
        _theirs(self)
        return
    if os.getpid() != shared.process:
        # A copy that agent code forked has come back to the loop: it is no second runner.
        REALLY_EXIT(0)
    context = shared.context = self._context
    rollout = context.get(current)
    if rollout is not None and rollout is not shared.ran:
        shared.ran = rollout
        if shared.last is not None:
            shared.last[:] = rollout.key_bytes
    if changes.changed.any:
        changes.enter(rollout)
    try:
        context.run(self._callback, *self._args)
    except BaseException as error:
        shared.loop.call_exception_handler(
            {"message": f"Exception in {self!r}", "exception": error, "handle": self}
        )
    finally:
        shared.context = None


def _stop(really: Callable[[], None]) -> None:
    if current.get() is not None:
        raise RuntimeError("a workflow must not stop the event loop that all rollouts share")
    really()


@functools.cache
def _task_class(base: type) -> type:
    # Of whatever class asyncio's tasks are: nest_asyncio, for one, puts another in its place.
    return type("RolloutTask", (base,), {"cancel": _cancel, "rollout": None})


def _task(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **options: Any
) -> asyncio.Task[Any]:
    task = _task_class(asyncio.Task)(work, loop=loop, **options)
    context = options.get("context")
    task.rollout = current.get() if context is None else context.get(current)
    return task


def _cancel(self: Any, msg: Any = None) -> bool:
    """Task.cancel, except for tasks of other rollouts, which agent code finds in all_tasks()."""
    canceller, owner = current.get(), self.rollout
    if canceller is not None and owner is not canceller and (owner is None or not owner.ended):
        return False
    return bool(super(type(self), self).cancel(msg=msg))


class _Pool(ThreadPoolExecutor):
    """The loop's threads, each in the directory of the rollout that it works for."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        rollout = current.get()
        future = super().submit(changes.in_thread_of(rollout, fn), *args, **kwargs)
        if rollout is not None:
            rollout.elsewhere.add(future)
            future.add_done_callback(rollout.elsewhere.discard)
        return future


def _exit(status: int) -> None:
    _die(f"os._exit({status})", REALLY_EXIT, status)


def _die(words: str, really: Callable[..., Any], *arguments: Any) -> None:
    """End the rollout whose code asks the process to end; a copy that it forked does end."""
    if current.get() is not None and os.getpid() == shared.process:
        raise ExitCalled(words)
    really(*arguments)
