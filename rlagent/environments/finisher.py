"""Calls methods that may be coroutine functions, in a thread that has no event loop."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any


class Finisher:
    """One event loop for all calls of a thread, so that an environment may keep its connections."""

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None

    def __enter__(self) -> "Finisher":
        return self

    def __exit__(self, *_: object) -> None:
        if self._runner is not None:
            self._runner.close()

    def __call__(self, function: Callable[..., Any], **arguments: Any) -> Any:
        """What the function returns, awaited where it has to be."""

        async def called() -> Any:
            result = function(**arguments)
            return await result if inspect.isawaitable(result) else result

        if self._runner is None:
            if not inspect.isawaitable(result := function(**arguments)):
                return result
            self._runner = asyncio.Runner()

            async def waited() -> Any:
                return await result

            return self._runner.run(waited())
        return self._runner.run(called())
