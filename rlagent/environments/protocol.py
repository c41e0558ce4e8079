"""What an environment is, what its calls return, and the ways in which it may fail. Light."""

import json
import math
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from rlagent.base.texts import shown

MOST_CHARACTERS = 100_000
"""Of what one call returns, as JSON: more is no observation that a model could read."""


@dataclass(frozen=True)
class Step:
    """What a call of an environment came to.

    Args:
        observation: A JSON value; a text, where a model is to read it as it stands.
        reward: Of this step alone.
        done: Whether the episode is over.
        info: Further JSON values by name, not meant for the model.
    """

    observation: Any
    reward: float = 0.0
    done: bool = False
    info: Mapping[str, Any] = field(default_factory=dict)


class Environment(Protocol):
    """A world that one rollout at a time acts in. Its methods may be coroutine functions.

    An object is used for one episode after the other, by rollouts that know nothing of each other:
    `reset` begins from scratch.
    """

    def reset(self, **options: Any) -> "Step | Awaitable[Step]":
        """Begin an episode; options such as `seed` are the workflow's."""

    def step(self, action: Any) -> "Step | Awaitable[Step]":
        """Act once."""

    def close(self) -> "Awaitable[None] | None":
        """Give back what it holds; no call follows."""


class EnvironmentFailedError(RuntimeError):
    """An environment failed its rollout; the message names it, the call and the reason."""


class EnvironmentDiedError(EnvironmentFailedError):
    """Its process or its server ended."""


class EnvironmentTimeoutError(EnvironmentFailedError):
    """A call took longer than it may."""


class EnvironmentRaisedError(EnvironmentFailedError):
    """A call raised."""


class EnvironmentGarbageError(EnvironmentFailedError):
    """A call returned what is no step."""


class NoStepError(ValueError):
    """A value is no step; the message says why."""


def as_step(value: Any) -> Step:
    """What a call returned, as plain JSON values.

    Args:
        value: A `Step`, or a tuple (observation, reward, done[, info]).

    Raises:
        NoStepError: It is neither, its reward is no finite number, or it is too long.
    """
    if isinstance(value, tuple) and 3 <= len(value) <= 4:
        value = Step(*value)
    if not isinstance(value, Step):
        what = shown(repr(value), 80)
        raise NoStepError(f"returned {type(value).__name__} {what}; a Step is expected")
    try:
        reward = float(value.reward)
    except (TypeError, ValueError):
        what = shown(repr(value.reward), 80)
        raise NoStepError(f"returned the reward {what}; a number is expected") from None
    if not math.isfinite(reward):
        raise NoStepError(f"returned the reward {reward}; it must be finite")
    if not isinstance(value.info, Mapping):
        raise NoStepError(f"returned {type(value.info).__name__} as info; names and values it is")
    try:
        # Numpy's bool is none of Python's.
        text = json.dumps(
            [value.observation, bool(value.done), dict(value.info)], default=_plain, allow_nan=False
        )
    except (TypeError, ValueError, RecursionError) as error:
        raise NoStepError(f"returned what is no JSON: {shown(str(error), 200)}") from None
    if len(text) > MOST_CHARACTERS:
        raise NoStepError(f"returned {len(text):,} characters; {MOST_CHARACTERS:,} at most")
    observation, done, info = json.loads(text)
    return Step(observation, reward, done, info)


def _plain(value: Any) -> Any:
    """A number or array of numpy or torch as Python's."""
    for name in ("tolist", "item"):
        if callable(read := getattr(value, name, None)):
            return read()
    raise TypeError(f"{type(value).__name__} {shown(repr(value), 60)}")
