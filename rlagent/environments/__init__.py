"""Environments that agents act in: the protocol, where they run, and adapters.

    from rlagent.environments import opened

    async with opened("my_world.py:World", args={"size": 4}) as world:
        first = await world.reset(seed=task["seed"])
        step = await world.step("left")

docs/environments.md says what is promised. Workflows import this package; no other room does.
"""

from rlagent.environments.protocol import (
    Environment,
    EnvironmentDiedError,
    EnvironmentFailedError,
    EnvironmentGarbageError,
    EnvironmentRaisedError,
    EnvironmentTimeoutError,
    Step,
)
from rlagent.environments.session import Session, opened

__all__ = [
    "Environment",
    "EnvironmentDiedError",
    "EnvironmentFailedError",
    "EnvironmentGarbageError",
    "EnvironmentRaisedError",
    "EnvironmentTimeoutError",
    "Session",
    "Step",
    "opened",
]
