"""The rollout engines and trainers by name: which there are, which `auto` takes."""

import functools
import importlib
from typing import Any

from rlagent.backends.base import RolloutEngine, Trainer

ENGINES = ("embedded", "vllm", "external")
TRAINERS = ("embedded", "verl")
"""The folders that hold one; `hardware.engine` takes the name of an engine."""


def engine_named(name: str) -> RolloutEngine:
    """The rollout engine that `hardware.engine` names."""
    found: RolloutEngine = _answers(name).ENGINE
    return found


def trainer_named(name: str) -> Trainer:
    """The trainer that Trinity's `trainer_type` names."""
    found: Trainer = _answers(name).TRAINER
    return found


def engines() -> list[RolloutEngine]:
    """Every rollout engine."""
    return [engine_named(name) for name in ENGINES]


def packages_of(engine: RolloutEngine) -> tuple[str, ...]:
    """The distributions that an engine and its trainer need, beyond those of every run."""
    trained = trainer_named(engine.trainer).packages if engine.trainer else ()
    return (*engine.packages, *trained)


def automatic_engine(on_gpus: bool) -> RolloutEngine:
    """The engine that `auto` takes with GPUs, or without, for a model that runs here."""
    return next(each for each in engines() if each.on_gpus == on_gpus and not each.by_url)


def engine_by_url() -> RolloutEngine:
    """The engine that `auto` takes for a model that something else runs."""
    return next(each for each in engines() if each.by_url)


def engine_of_type(trinity_type: str) -> RolloutEngine:
    """The engine that Trinity's `engine_type` means.

    Raises:
        KeyError: It means none of ours.
    """
    return {name: each for each in engines() for name in each.trinity_types}[trinity_type]


def load(path: str) -> Any:
    """What a dotted path `module:name` names."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


@functools.cache
def _answers(name: str) -> Any:
    return importlib.import_module(f"rlagent.backends.{name}.answers")
