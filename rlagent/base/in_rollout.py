"""What the code of a rollout leaves with whoever runs it: what has to end with the rollout, and
what happened in its environments.

Outside of a rollout, as in a test or a script, both do nothing.
"""

import contextlib
import contextvars
import itertools
from collections.abc import Callable
from typing import Any

_current: contextvars.ContextVar["Held | None"] = contextvars.ContextVar("held", default=None)


class RolloutEndedError(RuntimeError):
    """Code of a rollout that has ended goes on, in a thread or task, and starts something."""


class Held:
    """What one rollout has left so far.

    Args:
        calls: How many calls of the model it has made.
    """

    def __init__(self, calls: Callable[[], int] = lambda: 0) -> None:
        self._calls = calls
        self._releases: dict[int, Callable[[], None]] = {}
        self._numbers = itertools.count()
        self._ended = False
        # As records/rollouts/row.py describes them.
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> "Held":
        self._token = _current.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)
        self._ended = True
        # One that raises keeps no other from being called.
        with contextlib.ExitStack() as all_of_them:
            for number in list(self._releases):
                if release := self._releases.pop(number, None):
                    all_of_them.callback(release)

    def add(self, release: Callable[[], None]) -> Callable[[], None]:
        """See `at_end`."""
        number = next(self._numbers)
        self._releases[number] = release
        # Checked afterwards: the rollout may have ended meanwhile, and one of the two releases it.
        if self._ended:
            if self._releases.pop(number, None):
                release()
            raise RolloutEndedError("this rollout has ended; nothing is started for it any more")
        return lambda: (self._releases.pop(number, None), None)[1]

    def note(self, event: dict[str, Any]) -> None:
        """See `happened`."""
        if not self._ended:
            self.events.append({"after": self._calls(), **event})


def at_end(release: Callable[[], None]) -> Callable[[], None]:
    """Have something called when the rollout ends, however it ends; it must be quick, and not wait.

    Returns:
        What to call when that is not needed any more.

    Raises:
        RolloutEndedError: It has ended; `release` has been called.
    """
    held = _current.get()
    return held.add(release) if held is not None else lambda: None


def happened(event: dict[str, Any]) -> None:
    """Keep an event of an environment, behind the calls of the model made so far."""
    held = _current.get()
    if held is not None:
        held.note(event)
