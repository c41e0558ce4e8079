"""What resolving carries from step to step: the configuration being filled, choices, mistakes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rlagent.backends.base import RolloutEngine, Trainer
from rlagent.backends.registry import engine_named, trainer_named
from rlagent.base.errors import Problem
from rlagent.base.origins import FILLED, is_written, put
from rlagent.config.parents import Parent
from rlagent.config.schema import AUTO, LearnConfig
from rlagent.config.step_workload import workload_of
from rlagent.config.supervised import is_supervised
from rlagent.machine.resources import Machine
from rlagent.planner.gpus import find_gpu
from rlagent.planner.workload import Workload

NO_LAYOUT = {"hardware.engine", "hardware.gpus", "model.path", "model.candidates"}
"""Keys that leave nothing to choose a layout for when there is something wrong with them."""


@dataclass
class Resolution:
    """A configuration on its way to having no `auto` left.

    Args:
        config: A copy that is filled in place.
        machine: What there is.
        config_dirs: Folders of further presets.
        plan_only: Whether the machine need not have the GPUs.
        native: Whether it comes from a native YAML, which is taken as written.
        measures: Whether nothing is trained.
        choices: What was chosen and how to choose otherwise.
        problems: What is wrong.
        kept: What was written against a preset or a recipe and is the schema's default, by dotted
            key; see identity.py.
        parent: The checkpoint of another run that this one starts from; None without one.
    """

    config: LearnConfig
    machine: Machine
    config_dirs: Sequence[str] = ()
    plan_only: bool = False
    native: bool = False
    measures: bool = False
    choices: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    kept: dict[str, Any] = field(default_factory=dict)
    parent: Parent | None = None

    def fill(self, key: str, value: Any, why: str) -> None:
        """Set the value at a dotted key that nobody wrote, with the reason, in a few words."""
        assert self.native or not is_written(self.config, key), f"{key} was written"
        put(self.config, key, value, f"{FILLED}{why}")

    def chose(self, what: str, chosen: str, otherwise: str) -> None:
        """Note a choice, and what to write for another one."""
        self.choices.append(f"{what}: {chosen}; otherwise {otherwise}")

    def refuse(self, key: str, value: object, message: str, remedy: str = "") -> None:
        """Note a mistake."""
        self.problems.append(Problem(key, value, message, remedy))

    @property
    def engine(self) -> RolloutEngine:
        """The rollout engine."""
        return engine_named(self.config.hardware.engine)

    @property
    def trainer(self) -> Trainer:
        """The trainer that goes with it."""
        return trainer_named(self.engine.trainer)

    @property
    def on_gpus(self) -> bool:
        """Whether rollouts and training run on GPUs."""
        return self.engine.on_gpus

    @property
    def alone(self) -> bool:
        """Whether the trainer has no engines beside it."""
        return is_supervised(self.config) and not (self.measures or self.native)

    @property
    def total_gpus(self) -> int:
        """GPUs of all nodes."""
        return int(self.config.hardware.gpus) * int(self.config.hardware.nodes)

    @property
    def shares_sequences(self) -> bool:
        """Whether trainer GPUs can share a sequence: in verl this is flash-attn's doing."""
        wanted = self.config.hardware.attention in (AUTO, "flash_attention_2")
        there = self.machine.flash_attention is not None
        own = bool(self.trainer.attention)
        return own or self.native or (wanted and (there or self.plan_only))

    @property
    def gpu_gib(self) -> float:
        """Memory of one GPU in GiB, 0 without GPUs."""
        if not self.on_gpus:
            return 0.0
        return find_gpu(self.config.hardware.gpu, self.machine).kind.memory_gib

    @property
    def workload(self) -> Workload:
        """What a step asks of a layout."""
        return workload_of(self.config)

    @property
    def longest(self) -> int:
        """Longest sequence in tokens, known or the recipe's."""
        longest = self.config.model.max_model_len
        return longest if isinstance(longest, int) else self.config.model.recipe.max_model_len

    @property
    def offloads(self) -> list[bool]:
        """Whether the trainer may keep its state in host memory, in the order to try."""
        offload = self.config.hardware.offload
        if self.config.model.lora.rank is not None and not isinstance(offload, bool):
            return [False]
        return [offload] if isinstance(offload, bool) else [False, True]
