"""Actor classes that import nothing, in front of objects that import much.

Whatever holds the handle of a Ray actor imports its class: with Trinity's classes the
synchronizer, which only keeps weights, and the driver would spend seconds on engines and agents.
Here the object behind an actor is made in the actor's own process only.
"""

import inspect
from collections.abc import Callable
from typing import Any


def forwarding(*methods: str) -> Callable[[type], type]:
    """Give a class async methods of these names that call those of its `behind`."""

    def add_to(cls: type) -> type:
        for name in methods:
            setattr(cls, name, _forward(name))
        return cls

    return add_to


def _forward(name: str) -> Callable[..., Any]:
    async def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = getattr(self.behind, name)(*args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    call.__name__ = name
    return call
