"""What the engine and the trainer for machines without a GPU answer: see rlagent.backends.base."""

from dataclasses import asdict
from typing import Any

from rlagent.backends.base import Hardware, RolloutEngine, Start, Trainer
from rlagent.base.errors import Problem
from rlagent.base.lora import LoraConfig
from rlagent.base.model_shape import ModelShape
from rlagent.planner.constants import MOST_SHARE
from rlagent.planner.layout import Layout
from rlagent.planner.workload import Workload

FLOPS_PER_CORE = 45e9
"""What one core reaches in fp32, measured while a model of 135 M parameters was trained."""
STEP_SECONDS = 0.5
"""What a step takes beside the model: agent code, HTTP, Ray."""
CORES = 2
"""That a run keeps busy: engine and trainer take turns, agents run beside."""
RUN_GIB = 3.0
"""Host memory of a run with one engine."""
ENGINE_GIB = 0.8
"""Host memory of each further engine."""


class Embedded(RolloutEngine):
    """The embedded engine."""

    name = "embedded"
    words = "the CPU engine (embedded)"
    trainer = "embedded"
    on_gpus = False
    trinity_types = ("embedded",)
    actor = "rlagent.backends.embedded.engine.engine:EmbeddedModel"
    server = "rlagent.backends.embedded.engine.served:EmbeddedServer"
    packages = ("xgrammar",)
    model = ("tiny", "which a CPU trains in minutes", "model=smollm2_135m")
    own_tool_form = True
    tells_allowed = True
    extra_args = ("threads", "dtype", "max_num_seqs", "kv_cache_gib")
    asks_for = ("return_token_ids", "return_token_logprobs")
    fetches_weights = False
    reports = ("work_done",)
    takes_seeds = True
    start_seconds = 40.0

    def refusals(self, hardware: Hardware, url: str | None, key_env: str | None) -> list[Problem]:
        """See RolloutEngine."""
        gpus = hardware[0]
        if not isinstance(gpus, int) or not gpus:
            return []
        what = "the embedded engine uses no GPU"
        return [Problem("hardware.gpus", gpus, what, "hardware.logical_gpus pretends to have some")]

    def runners(self, engines: int) -> int:
        """See RolloutEngine: agents and models share the cores."""
        return 1

    def memory_share(self, shape: ModelShape, layout: Layout, work: Workload, gib: float) -> float:
        """See RolloutEngine; nothing reads it."""
        return MOST_SHARE

    def rough_seconds(
        self, size: int, tokens: float, longest: float, flop: float, layout: Layout, cores: int
    ) -> float:
        """See RolloutEngine: engine and trainer take turns on all cores."""
        # The prompt counts about as much as the response.
        return (flop + 2 * size * tokens * 2) / (FLOPS_PER_CORE * cores) + STEP_SECONDS

    def host_need(
        self, layout: Layout, gpus: int, nodes: int, kept_gib: float, threads: int
    ) -> tuple[int, float]:
        """See RolloutEngine."""
        return min(CORES, threads), RUN_GIB + ENGINE_GIB * max(0, layout.engines - 1)

    def settings(self, start: Start) -> dict[str, Any]:
        """See RolloutEngine."""
        return {}

    def auxiliary(self, tensor_parallel: int) -> dict[str, Any]:
        """See RolloutEngine: one process, however many GPUs it would have."""
        return {"engine_type": self.name}

    def of_native(self, written: dict[str, Any]) -> dict[str, Any]:
        """See RolloutEngine: one process, without what is for GPUs."""
        extra = written.get("extra_engine_args") or {}
        return {
            **written,
            "engine_type": self.name,
            "engine_num": 1,
            "tensor_parallel_size": 1,
            "data_parallel_size": 1,
            "pipeline_parallel_size": 1,
            "extra_engine_args": {k: v for k, v in extra.items() if k in self.extra_args},
        }


class EmbeddedTrainer(Trainer):
    """The embedded trainer."""

    name = "embedded"
    process = "rlagent.backends.embedded.trainer.trainer:EmbeddedTrainer"
    weights = "rlagent.backends.embedded.weights:read_weights"
    attention = "sdpa"
    drops = True
    config_keys = (
        *("threads", "mini_batch_size", "micro_batch_tokens", "seed"),
        *("updates_per_step", "epochs_per_step", "lora"),
    )
    # The one knows no further trainer type, the other measures GPUs.
    unchecked = ("TrainerConfigValidator", "GPUMemoryValidator")

    def settings(self, start: Start) -> dict[str, Any]:
        """See Trainer."""
        return {"trainer_config": {"seed": start.seed, "threads": start.threads}}

    def of_native(self, written: dict[str, Any], start: Start) -> dict[str, Any]:
        """See Trainer: without what is for GPUs."""
        given = written.get("trainer_config") or {}
        known = {key: value for key, value in given.items() if key in self.config_keys}
        own = self.settings(start)["trainer_config"]
        return {**written, "trainer_type": self.name, "trainer_config": {**own, **known}}

    def adapter(self, lora: LoraConfig) -> dict[str, Any]:
        """See Trainer."""
        return {"trainer": {"trainer_config": {"lora": asdict(lora)}}}

    def sync_method(self, colocated: bool) -> str:
        """See Trainer."""
        return "memory"


ENGINE = Embedded()
TRAINER = EmbeddedTrainer()
