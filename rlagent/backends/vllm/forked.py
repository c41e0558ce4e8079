"""Processes that have imported vLLM before they exist: forked from one that did.

In a Ray actor vLLM starts its engine's process, and one that looks at the model's class, as fresh
interpreters; each imports for a quarter of a minute what the actor has just imported itself.
Python's forkserver imports it once, at the same time as the actor, and forks them. It has no
threads and never touches CUDA, which is what forking the actor would get wrong.
"""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import context, forkserver
from typing import Any

import cloudpickle

from rlagent.base.cause import cause_of

ENGINE = ("vllm.v1.engine.core", "vllm.v1.worker.gpu_worker", "rlagent.backends.vllm.worker")
"""What an engine's process imports."""


class _Process(context.ForkServerProcess):
    """A process with the environment of the one that starts it, and no longer life than that.

    Both would be the forkserver's otherwise. Ray kills what an actor has started, but not what
    that has started, and a GPU would stay taken. What it raises, it also tells the one that
    started it: what it prints stands in a log of Ray's, which goes with Ray.
    """

    def start(self) -> None:
        self._environment = dict(os.environ)
        self._told, self._telling = multiprocessing.Pipe(duplex=False)
        super().start()
        self._telling.close()

    def run(self) -> None:
        os.environ.clear()
        os.environ.update(self._environment)
        threading.Thread(target=_end_with_parent, daemon=True).start()
        try:
            super().run()
        except Exception as error:
            self._telling.send(cause_of(error))
            raise

    def raised(self) -> str:
        """What ended it, in a line; empty: it runs, or nothing was raised."""
        try:
            return str(self._told.recv()) if self._told.poll() else ""
        except EOFError:
            return ""


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


class ForkedContext(context.ForkServerContext):
    """A multiprocessing context whose processes start with everything imported."""

    def __init__(self) -> None:
        super().__init__()
        self._started: list[_Process] = []

    def Process(self, *args: Any, **kwargs: Any) -> _Process:  # type: ignore[override]  # noqa: N802
        """A process that is not started yet; arguments as of multiprocessing.Process."""
        self._started.append(_Process(*args, **kwargs))
        return self._started[-1]

    def raised(self) -> str:
        """What ended the first of its processes that raised something; empty: none has."""
        return next(filter(None, (each.raised() for each in self._started)), "")


def start_importing(modules: Iterable[str] = ENGINE) -> None:
    """Start the forkserver of this process; it imports while this process goes on.

    Modules that read the environment when they are imported read it as it is now.
    """
    forkserver.set_forkserver_preload(list(modules))
    forkserver.ensure_running()


def call(function: Callable[[], Any]) -> Any:
    """What a function returns in a process of its own; it may be a lambda."""
    with ProcessPoolExecutor(1, mp_context=ForkedContext()) as pool:
        return pool.submit(_call, cloudpickle.dumps(function)).result()


def _call(function: bytes) -> Any:
    return cloudpickle.loads(function)()
