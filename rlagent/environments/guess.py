"""Guess a number, as an environment of OpenEnv, written with openenv-core's own server.

`rlagent.workflows.openenv` starts it where no other server is named.
"""

import random
from typing import Any
from uuid import uuid4

from fastapi import FastAPI
from openenv.core.env_server import Action, Environment, Observation, State, create_fastapi_app
from pydantic import Field

LARGEST = 15
GUESSES = 4
"""As many as finding any of the numbers takes."""

SESSIONS = 4096
"""At once: a server is one of many rollouts."""


class Guess(Action):
    """What is guessed."""

    number: int = Field(ge=1, le=LARGEST)


class Hint(Observation):
    """What is said of a guess."""

    hint: str


class Guessing(Environment):
    """A number from 1 to 15, drawn by the seed of an episode; four guesses."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        super().__init__()
        self._state = State()
        self._number = 1

    def reset(self, seed: int | None = None, episode_id: str | None = None, **options: Any) -> Hint:
        """Draw a number."""
        self._state = State(episode_id=episode_id or str(uuid4()), step_count=0)
        self._number = random.Random(seed).randint(1, LARGEST)
        return Hint(hint=f"1 to {LARGEST}")

    def step(self, action: Guess, timeout_s: float | None = None, **options: Any) -> Hint:
        """Say whether the number is higher or lower; 1 for it, 0 for any other."""
        self._state.step_count += 1
        if action.number == self._number:
            return Hint(hint="right", reward=1.0, done=True)
        hint = "higher" if action.number < self._number else "lower"
        return Hint(hint=hint, reward=0.0, done=self._state.step_count >= GUESSES)

    @property
    def state(self) -> State:
        """Of the episode."""
        return self._state


def app() -> FastAPI:
    """The server."""
    return create_fastapi_app(Guessing, Guess, Hint, max_concurrent_envs=SESSIONS)
