"""Processes that have imported vLLM before they exist: forked from one that did.

In a Ray actor vLLM starts its engine's process, and one that looks at the model's class, as fresh
interpreters; each imports for a quarter of a minute what the actor has just imported itself.
Python's forkserver imports it once, at the same time as the actor, and forks them. It has no
threads and never touches CUDA, which is what forking the actor would get wrong.
"""

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
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
    that has started, and a GPU would stay taken. An exception that ends the process is also sent
    to the one that started it: what the process prints is in a log that Ray removes when it ends.
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
        """The exception that ended this process, in one line; empty if there is none."""
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

    @contextlib.contextmanager
    def naming_the_cause(self) -> Iterator[None]:
        """Within the block, an error says which exception ended a process of this context.

        vLLM's own error points to what its process printed.

        Raises:
            RuntimeError: As the block did, with the exception of the process where there is one.
        """
        try:
            yield
        except RuntimeError as error:
            cause = next(filter(None, (each.raised() for each in self._started)), "")
            if cause:
                raise RuntimeError(f"vLLM did not start: {cause}") from error
            raise


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
