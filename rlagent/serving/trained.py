"""A run and one of its checkpoints, as the commands after training need them. Imports no torch."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rlagent.backends.base import Trainer
from rlagent.backends.registry import engine_named, trainer_named
from rlagent.base.endings import EXIT_CONFIG, EXIT_FAILED, EXIT_INTERRUPTED, RunError
from rlagent.base.errors import ConfigError
from rlagent.base.paths import resolve_path
from rlagent.config.schema import AUTO, LearnConfig
from rlagent.records.checkpoints import CheckpointError, Kept, find_checkpoint
from rlagent.records.configuration import base_of, read_config
from rlagent.records.files import DamagedError
from rlagent.records.folder import RunFolder, RunNotFoundError, find_run


@dataclass(frozen=True)
class Trained:
    """A checkpoint with what is known of how it came to be."""

    run: RunFolder
    kept: Kept
    config: LearnConfig

    @property
    def base(self) -> str:
        """The model that was trained: a folder or a hub id, for transformers."""
        return resolve_path(base_of(self.run, self.config))

    @property
    def trainer(self) -> Trainer:
        """Who wrote the checkpoint.

        Raises:
            RunError: The run trained nothing.
        """
        engine = engine_named(self.config.hardware.engine)
        if not engine.trainer:
            raise RunError(f"{self.run.name} trained no weights: {engine.no_trainer}")
        return trainer_named(engine.trainer)

    @property
    def on_gpus(self) -> bool:
        """Whether the run computed on GPUs."""
        return engine_named(self.config.hardware.engine).on_gpus

    @property
    def chat_template(self) -> str | None:
        """The chat template that was chosen; None: the tokenizer's own, as for every run that is
        older than the choice."""
        chosen = self.config.model.chat_template
        return None if chosen == AUTO else chosen

    @property
    def name(self) -> str:
        """Of the model, where one is asked for."""
        return f"{self.run.name}-{f'step-{self.kept.step}' if self.kept.step else 'base'}"


def find_trained(run: str, step: str, root: str | Path = "outputs") -> Trained:
    """What a person means by a run and a checkpoint of it.

    Raises:
        RunNotFoundError, CheckpointError: There is none; the message says which there are.
        ConfigError: The run's configuration cannot be read.
    """
    folder = find_run(run, root)
    if not folder.config_yaml.is_file():
        raise RunNotFoundError(f"{folder.name} has no config.yaml: it has not begun to train")
    return Trained(folder, find_checkpoint(folder, step), read_config(folder))


def say_outcome(command: str, work: Callable[[], int]) -> int:
    """Run a command; returns its exit status, and says in a line what went wrong."""
    try:
        return work()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except (RunNotFoundError, CheckpointError) as error:
        cause, status = str(error), EXIT_CONFIG
    except ConfigError as error:
        cause, status = "; ".join(map(str, error.problems)), EXIT_CONFIG
    except (DamagedError, RunError, OSError) as error:
        cause, status = str(error), EXIT_FAILED
    print(f"rlagent {command}: {' '.join(cause.split())}", file=sys.stderr)
    return status
