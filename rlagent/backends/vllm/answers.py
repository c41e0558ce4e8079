"""What vLLM as a rollout engine answers: see rlagent.backends.base."""

from typing import Any

from rlagent.backends.base import Hardware, RolloutEngine, Start
from rlagent.backends.vllm.engine_arguments import SHARED_WEIGHTS, capture_sizes
from rlagent.base.errors import Problem
from rlagent.base.model_shape import ModelShape
from rlagent.planner.constants import HOST_BESIDE_GIB
from rlagent.planner.layout import Layout
from rlagent.planner.memory import share
from rlagent.planner.workload import Workload

GPU_FLOPS = 150e12
"""What training reaches on one data-centre GPU in bf16."""
DECODE_TOKENS = 3e13
"""Tokens per second times parameters that one engine decodes in large batches."""
SEQUENCE_TOKENS = 60
"""Tokens per second of one sequence."""
STEP_SECONDS = 5.0
"""What a step takes beside the model: agent code, HTTP, Ray."""
GPU_GIB = 16.0
"""Host memory that a run takes per GPU at least."""


class VLLM(RolloutEngine):
    """vLLM, whose experiences verl trains on."""

    name = "vllm"
    words = "vLLM and verl"
    trainer = "verl"
    on_gpus = True
    trinity_types = ("vllm", "vllm_async")
    actor = "rlagent.backends.vllm.engine_actor:EngineActor"
    server = "rlagent.backends.vllm.served:VLLMServer"
    packages = ("vllm",)
    fetches_weights = True
    # Of the second vLLM itself knows nothing: rlagent.upstream.vllm.token_lists.
    asks_for = ("return_token_ids", "return_token_logprobs")
    reports = ("startup_marks",)
    start_seconds = 190.0

    def refusals(self, hardware: Hardware, url: str | None, key_env: str | None) -> list[Problem]:
        """See RolloutEngine."""
        gpus, logical_gpus, preset = hardware
        found = []
        if logical_gpus:
            what, remedy = "vLLM needs real GPUs", "use hardware=cpu with logical GPUs"
            found.append(Problem("hardware.logical_gpus", logical_gpus, what, remedy))
        if gpus == 0:
            source = "" if preset == "auto" else f" with hardware={preset}"
            what = f"vLLM needs at least one GPU, but hardware.gpus is 0{source}"
            remedy = "take hardware=cpu alone, or one with GPUs, such as hardware=1gpu"
            found.append(Problem("hardware.engine", self.name, what, remedy))
        return found

    def runners(self, engines: int) -> int:
        """See RolloutEngine."""
        return 4 * engines

    def memory_share(self, shape: ModelShape, layout: Layout, work: Workload, gib: float) -> float:
        """See RolloutEngine."""
        return share(shape, layout, work, gib)

    def rough_seconds(
        self, size: int, tokens: float, longest: float, flop: float, layout: Layout, cores: int
    ) -> float:
        """See RolloutEngine."""
        training = flop / (GPU_FLOPS * layout.trainer_gpus)
        if not layout.engines:
            return training + STEP_SECONDS
        decode = tokens * size / (DECODE_TOKENS * layout.rollout_gpus)
        return max(decode, longest / SEQUENCE_TOKENS) + training + STEP_SECONDS

    def host_need(
        self, layout: Layout, gpus: int, nodes: int, kept_gib: float, threads: int
    ) -> tuple[int, float]:
        """See RolloutEngine."""
        return 0, max(GPU_GIB * gpus / nodes, kept_gib + HOST_BESIDE_GIB)

    def settings(self, start: Start) -> dict[str, Any]:
        """See RolloutEngine: buffers and CUDA graphs for no more than runs at once at most."""
        extra: dict[str, Any] = {"max_num_seqs": start.concurrency}
        if not start.enforce_eager:
            sizes = capture_sizes(start.concurrency)
            extra["compilation_config"] = {"cudagraph_capture_sizes": sizes}
        if start.in_turns and start.dtype == "bfloat16":
            extra[SHARED_WEIGHTS] = True
        return {
            "dtype": start.dtype,
            "gpu_memory_utilization": start.gpu_memory_utilization,
            "enforce_eager": start.enforce_eager,
            "enable_prefix_caching": start.prefix_caching,
            "extra_engine_args": extra,
        }

    def auxiliary(self, tensor_parallel: int) -> dict[str, Any]:
        """See RolloutEngine."""
        return {"tensor_parallel_size": tensor_parallel}


ENGINE = VLLM()
