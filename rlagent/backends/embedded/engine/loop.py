"""Drives a Generator from an asyncio loop: one forward pass, then whatever else is ready.

The model runs in the same thread as the loop. Two threads would fight over the interpreter's lock
at every one of the thousand small operations of a pass; taking turns costs a request at most one
pass of waiting.
"""

import asyncio
import time
from collections import deque
from typing import Any, AsyncGenerator, Callable, Deque, List, Optional, Sequence, Tuple

from rlagent.backends.embedded.engine.generate import Generator, Request

_TURNS = 4
"""Turns of the event loop between two passes: accept, read, handle, answer."""


class EngineDiedError(RuntimeError):
    """The generator raised; every request fails until the engine is restarted."""


class GenerationLoop:
    """Runs a generator. All methods belong to the thread of its event loop."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self.error: Optional[BaseException] = None
        # Seconds spent in forward passes so far.
        self.busy_seconds = 0.0
        self._wake = asyncio.Event()
        self._calls: Deque[Tuple[Callable[[], Any], bool, asyncio.Future]] = deque()
        self._futures: dict = {}

    async def run(self) -> None:
        """Serve until cancelled, or until the generator raises; then all requests fail."""
        try:
            while True:
                self._run_calls()
                if self.generator.busy:
                    began = time.perf_counter()
                    self.generator.step(admit=not self._draining)
                    self.busy_seconds += time.perf_counter() - began
                    for _ in range(_TURNS):
                        await asyncio.sleep(0)
                elif not self._calls:
                    self._wake.clear()
                    await self._wake.wait()
        except BaseException as error:
            self._die(error)
            raise

    async def generate(self, requests: Sequence[Request]) -> List[Request]:
        """Draw responses; returns the same requests, done.

        Raises:
            EngineDiedError: If the generator failed.
        """
        self._check()
        futures = []
        for request in requests:
            future = asyncio.get_running_loop().create_future()
            self._futures[request] = future
            request.on_done = self._done
            self.generator.submit(request)
            futures.append(future)
        self._wake.set()
        try:
            await asyncio.gather(*futures)
        except asyncio.CancelledError:
            for request in requests:
                request.cancelled = True
                self._futures.pop(request, None)
            raise
        return list(requests)

    async def stream(self, requests: Sequence[Request]) -> AsyncGenerator[Request, None]:
        """Draw responses; yields a request after each of its tokens.

        Raises:
            EngineDiedError: If the generator failed.
        """
        drawn: asyncio.Queue[Optional[Request]] = asyncio.Queue()
        for request in requests:
            request.on_token = drawn.put_nowait
        generating = asyncio.ensure_future(self.generate(requests))
        generating.add_done_callback(lambda _: drawn.put_nowait(None))
        try:
            while (one := await drawn.get()) is not None:
                yield one
            await generating
        finally:
            # A caller that went away must not keep its rows.
            generating.cancel()

    async def call(self, function: Callable[[], Any], idle: bool = False) -> Any:
        """Run a function between two passes and return what it returns.

        Args:
            function: Must not block for long.
            idle: Wait until no request holds a row; new ones wait meanwhile.
        """
        self._check()
        future = asyncio.get_running_loop().create_future()
        self._calls.append((function, idle, future))
        self._wake.set()
        return await future

    @property
    def _draining(self) -> bool:
        return bool(self._calls)

    def _run_calls(self) -> None:
        while self._calls:
            function, idle, future = self._calls[0]
            if idle and self.generator.active:
                return
            self._calls.popleft()
            if future.cancelled():
                continue
            try:
                future.set_result(function())
            except Exception as error:
                future.set_exception(error)

    def _done(self, request: Request) -> None:
        future = self._futures.pop(request, None)
        if future is not None and not future.done():
            future.set_result(None)

    def _die(self, error: BaseException) -> None:
        self.error = error
        self.generator.fail_all()
        waiting = [*self._futures.values(), *(future for _, _, future in self._calls)]
        self._futures.clear()
        self._calls.clear()
        for future in waiting:
            if not future.done():
                future.set_exception(EngineDiedError(f"the engine stopped: {error!r}"))

    def _check(self) -> None:
        if self.error is not None:
            raise EngineDiedError(f"the engine stopped: {self.error!r}")
