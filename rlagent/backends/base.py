"""The seam: what the rest of rlagent asks of a rollout engine and of a trainer.

Each has a folder beside this file: answers.py holds plain values and pure functions, light, and
names what is heavy by dotted paths. registry.py finds them; nowhere else is one's name compared.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from rlagent.base.errors import Problem
from rlagent.base.lora import LoraConfig
from rlagent.base.model_shape import ModelShape
from rlagent.planner.layout import Layout
from rlagent.planner.workload import Workload

Hardware = tuple[int | str, int, str]
"""As written: `hardware.gpus`, `hardware.logical_gpus` and the preset `hardware.name`."""
NO_KEY = "EMPTY"  # What is sent where no key is asked for, as vLLM's own clients do.
TOO_LONG = "maximum context length"  # What every engine says of a prompt that is too long.


@dataclass(frozen=True)
class Start:
    """What starts an engine or a trainer; `vocab` 0: unknown; `concurrency`: rollouts at
    once; `in_turns`: engine and trainer compute on the same GPUs, never at the same time."""

    seed: int
    threads: int
    dtype: str
    gpu_memory_utilization: float
    enforce_eager: bool
    prefix_caching: bool
    attention: str
    offload: bool
    max_model_len: int
    vocab: int
    sequence_parallel: int
    concurrency: int
    in_turns: bool
    url: str | None
    key_env: str | None


class RolloutEngine(ABC):
    """What samples; answers.py has it as ENGINE. Values without a default must be given."""

    name: str
    """Its folder."""
    words: str
    """Engine and trainer in words, for the line about the choice of hardware."""
    trainer: str
    """The trainer of its experiences; empty: it only measures, for the reason `no_trainer`."""
    no_trainer: str = ""
    on_gpus: bool
    """Whether it and its trainer compute on GPUs; else on one node's CPU, GPUs logical at most."""
    by_url: bool = False
    """Whether something else runs the model, at `model.url`; `auto` takes it then."""
    trinity_types: tuple[str, ...]
    """Trinity's `engine_type` for it: the one that is written first, then those also read."""
    actor: str
    server: str = ""
    """`module:class` of its Ray actor, and of what serves without Ray: see served.py."""
    packages: tuple[str, ...] = ()
    """Distributions that no other engine needs."""
    model: tuple[str, str, str] | None = None
    """The preset that `model=auto` takes, why, and an alternative; None: the largest that fits."""
    own_tool_form: bool = False
    tells_allowed: bool = False
    """Whether it decodes required tool calls in the model's form, and tells what could be drawn."""
    extra_args: tuple[str, ...] = ()
    """What it reads of Trinity's `extra_engine_args`; empty: all."""
    asks_for: tuple[str, ...] = ("return_token_ids",)
    """Fields of a request, all true, that ask for more than OpenAI's answer holds."""
    fetches_weights: bool
    """Whether processes of its own, which are no workers of Ray, fetch the weights."""
    reports: tuple[str, ...] = ()
    """Which of `startup_marks` and `work_done` its actor answers."""
    takes_seeds: bool = False  # Whether a seeded request has the same answer again, at no cost.
    start_seconds: float  # From the command to the first step.

    @abstractmethod
    def refusals(self, hardware: Hardware, url: str | None, key_env: str | None) -> list[Problem]:
        """Why it cannot run on `hardware` with `model.url` and `model.key_env`, as written."""

    @abstractmethod
    def runners(self, engines: int) -> int:
        """Processes for agent code where nothing is written."""

    @abstractmethod
    def memory_share(self, shape: ModelShape, layout: Layout, work: Workload, gib: float) -> float:
        """Share of a GPU of `gib` GiB that it takes where nothing is written, in (0, 1)."""

    @abstractmethod
    def rough_seconds(
        self, size: int, tokens: float, longest: float, flop: float, layout: Layout, cores: int
    ) -> float:
        """A step, s, where the planner has no estimate: `size` parameters, `tokens` generated,
        `longest` of them one after the other, and training's `flop`."""

    @abstractmethod
    def host_need(
        self, layout: Layout, gpus: int, nodes: int, kept_gib: float, threads: int
    ) -> tuple[int, float]:
        """Busy cores (0: its GPUs' share); host memory, GiB of a node, `kept_gib` trainer's."""

    @abstractmethod
    def settings(self, start: Start) -> dict[str, Any]:
        """Trinity's `rollout_model`: what is the engine's own of it."""

    @abstractmethod
    def auxiliary(self, tensor_parallel: int) -> dict[str, Any]:
        """The same of an auxiliary model."""

    def of_native(self, written: dict[str, Any]) -> dict[str, Any]:
        """A native YAML's `rollout_model` or auxiliary model, as this engine takes it."""
        return written


class Trainer(ABC):
    """What trains; answers.py has it as TRAINER."""

    name: str
    """Its folder, and Trinity's `trainer_type`."""
    process: str
    weights: str
    """`module:class` that Trinity's Trainer wraps; `module:function` that reads a checkpoint."""
    packages: tuple[str, ...] = ()
    """Distributions that no other trainer needs."""
    attention: str = ""
    """The only `hardware.attention` that it has; empty: it can be chosen."""
    drops: bool = False  # Whether it can drop an adapter's inputs in an update.
    micro_batches: bool = False
    """Whether a sequence must fit a micro-batch of `trainer.max_token_len_per_gpu`."""
    config_keys: tuple[str, ...] = ()
    """What it reads of Trinity's `trainer_config`; empty: all."""
    unchecked: tuple[str, ...] = ()
    """Trinity's validators that know nothing of it."""

    @abstractmethod
    def settings(self, start: Start) -> dict[str, Any]:
        """Trinity's `trainer`: what is the trainer's own of it."""

    def kernel(self, attention: str) -> dict[str, Any]:
        """The part of it that says how attention is computed."""
        return {}

    def of_native(self, written: dict[str, Any], start: Start) -> dict[str, Any]:
        """A native YAML's `trainer`, as this one takes it."""
        return written

    @abstractmethod
    def adapter(self, lora: LoraConfig) -> dict[str, Any]:
        """What of Trinity's whole configuration has an adapter trained instead of the model."""

    @abstractmethod
    def sync_method(self, colocated: bool) -> str:
        """How Trinity hands its weights to the engines."""
