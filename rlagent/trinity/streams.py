"""sys.stdout and sys.stderr, which each rollout replaces for itself only.

Agent code captures what it prints, between two calls of the model or in a thread, while others
print. Python looks for the streams in two ways: print() takes what stands in the dictionary of sys,
a stand-in that hands on to the stream of the rollout whose code runs; `sys.stdout`, read or
assigned, is a property.
"""

import sys
from types import ModuleType
from typing import Any

from rlagent.trinity.guard import current

NAMES = ("stdout", "stderr")


class _Stream:
    """Stands in for a stream, and passes on to that of the rollout whose code runs."""

    def __init__(self, name: str, own: Any) -> None:
        self.__dict__["_name"], self.__dict__["_own"] = name, own

    def _now(self) -> Any:
        rollout = current.get()
        return self._own if rollout is None else rollout.streams.get(self._name, self._own)

    def close(self) -> None:
        """Close a rollout's own stream; that of the process stays open."""
        now = self._now()
        if now is self._own:
            now.flush()
        else:
            now.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._now(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._now(), name, value)

    def __iter__(self) -> Any:
        return iter(self._now())

    def __enter__(self) -> Any:
        return self._now().__enter__()

    def __exit__(self, *exc: Any) -> None:
        self.close()


def _property(name: str, stream: _Stream) -> property:
    def get(module: ModuleType) -> Any:
        rollout = current.get()
        return stream if rollout is None else rollout.streams.get(name, stream)

    def put(module: ModuleType, value: Any) -> None:
        rollout = current.get()
        if rollout is not None and value is not stream:
            rollout.streams[name] = value
        elif rollout is not None:
            rollout.streams.pop(name, None)
        elif value is not stream:
            stream.__dict__["_own"] = value

    return property(get, put)


def install() -> None:
    """Put stand-ins in the place of the streams of this process."""
    if isinstance(sys, _Sys):
        return
    for name in NAMES:
        stream = _Stream(name, getattr(sys, name))
        setattr(_Sys, name, _property(name, stream))
        sys.__dict__[name] = stream
    sys.__class__ = _Sys


class _Sys(ModuleType):
    """The module sys, with properties for the streams."""
