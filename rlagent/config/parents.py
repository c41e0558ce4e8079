"""`model.path=RUN` or `RUN@STEP`: what a configuration must know of the run that it goes on from.

Reading run folders is records' work, which lies above: `finder` is filled by api.py, as the
reader of files is.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rlagent.config.schema import AUTO, ModelConfig

Lineage = list[dict[str, Any]]
"""The checkpoints that a model comes from, the nearest first: each its `run`, `step`, `model` (the
preset's name) and `base` (what that run began from)."""


@dataclass(frozen=True)
class Parent:
    """The checkpoint of another run that a run starts from.

    Args:
        run: Name of its folder.
        step: Training steps that it had; 0: what that run itself began from.
        folder: The model as a Hugging Face folder, which may have to be exported first, or the
            base model's path.
        place: What the trial's identity has for it: run and step, as they were asked for.
        model: That run's model, as it was resolved.
        lineage: Of the weights.
    """

    run: str
    step: int
    folder: str
    place: str
    model: ModelConfig
    lineage: Lineage

    def words(self) -> str:
        """It, for a person."""
        return f"step {self.step} of {self.run}" if self.step else f"the base model of {self.run}"


INHERITED = (
    "name",
    "enable_thinking",
    "tool_call_parser",
    "reasoning_parser",
    "dtype",
    "trust_remote_code",
    "shape",
    "recipe",
)
"""What a run takes of its parent's model where nobody wrote it: what belongs to the weights, and
the recipe. How it samples, and how far, are its own."""


def inherited(parent: Parent) -> ModelConfig:
    """The part of the parent's model that belongs to its weights. An export has the chat template
    in its tokenizer."""
    taken = ModelConfig()
    for name in (*INHERITED, *(() if parent.step else ("chat_template",))):
        setattr(taken, name, copy.deepcopy(getattr(parent.model, name)))
    return taken


def root_of(lineage: Lineage, path: str) -> str:
    """What the first run of a line began from; without a line the model's own path.

    >>> root_of([{"base": "exports/step-3"}, {"base": "builtin:tiny"}], "x"), root_of([], "x")
    ('builtin:tiny', 'x')
    """
    return str(lineage[-1]["base"]) if lineage else path


def find_parent(path: str, root: str) -> Parent | None:
    """The checkpoint that `model.path` means; None where it means a folder or a hub id.

    Args:
        path: As written.
        root: Where run folders are.

    Raises:
        ConfigError: It means a run or a step that is not there; with what there is.
    """
    return None if path == AUTO else finder(path, root)


def _none(path: str, root: str) -> Parent | None:
    return None


finder: Callable[[str, str], Parent | None] = _none
"""What `find_parent` calls."""
