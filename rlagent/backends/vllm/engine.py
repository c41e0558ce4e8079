"""The actor of a rollout engine: Trinity's vLLM model, started with fewer imports and processes.

What differs is decided in engine_arguments.py. This module imports Trinity's, which imports vLLM;
it is for the engine's own process (engine_actor.py).
"""

import importlib
import os
from typing import Any

import ray
from trinity.common.config import InferenceModelConfig
from trinity.common.constants import SyncMethod
from trinity.common.models.vllm_model import vLLMRolloutModel

from rlagent.backends.vllm import adapters, forked
from rlagent.backends.vllm.engine_arguments import (
    SHARED_WEIGHTS,
    engine_arguments,
    environment,
    is_one_process,
    template_argument,
)
from rlagent.base.startup import Marks
from rlagent.upstream import vllm


class RolloutEngine(vLLMRolloutModel):
    """One vLLM engine."""

    def __init__(self, config: InferenceModelConfig) -> None:
        self._marks = Marks()
        self._marks.mark("engine_process")
        # A copy: the arguments that Trinity sets itself cannot be given twice.
        self._ours = engine_arguments(config.gpu_per_engine, config.extra_engine_args)
        self._shares_weights = bool(config.extra_engine_args.get(SHARED_WEIGHTS))
        config.extra_engine_args = {
            key: value
            for key, value in config.extra_engine_args.items()
            if key not in self._ours and key != SHARED_WEIGHTS
        }
        if config.enable_lora:
            self._ours |= adapters.arguments(config.lora_kwargs["max_lora_rank"])
        self._adapter: Any = None
        for name, value in environment(self._ours).items():
            os.environ.setdefault(name, value)
        # vLLM's server reads it where Trinity hands it no --api-key. It guards /v1.
        os.environ["VLLM_API_KEY"] = config.api_key
        super().__init__(config)
        if config.chat_template:
            config.chat_template = template_argument(config.chat_template)

    async def prepare(self) -> None:
        """Load the model and serve it.

        Raises:
            RuntimeError: vLLM did not start.
        """
        processes = forked.ForkedContext()
        with (
            processes.naming_the_cause(),
            vllm.engine_arguments.apply(self._ours),
            vllm.before_waiting.apply(self._import_server),
            vllm.engine_process.apply(processes if is_one_process(self._ours) else None),
            vllm.look_at_model.apply(forked.call),
        ):
            await super().prepare()
        if self.enable_lora:
            await self._take(adapters.first_of(self.config.lora_modules))
            vllm.newest_adapter.apply(self.async_llm, self.get_lora_request)
        self._marks.mark("engine_ready")

    async def sync_model_weights(
        self, model_version: int, method: SyncMethod, timeout: float = 1200
    ) -> int:
        """Take the weights of a version; with LoRA the adapter that the trainer wrote."""
        if self.enable_lora:
            await self._take(adapters.request_of(self.config.checkpoint_job_dir, model_version))
        elif self._shares_weights and method == SyncMethod.MEMORY:
            await self._take_shared()
        else:
            return await super().sync_model_weights(model_version, method, timeout)
        self.model_version = model_version
        return model_version

    async def _take_shared(self) -> None:
        """Take weights as Trinity does, but from the trainer's GPU memory."""
        synchronizer = ray.get_actor("synchronizer", namespace=self.config.ray_namespace)
        offered, _ = await synchronizer.get_model_state_dict.remote()
        await self.async_llm.pause_generation(mode="keep", clear_cache=False)
        await self.async_llm.reset_prefix_cache(reset_running_requests=True)
        await self.async_llm.start_weight_update(is_checkpoint_format=True)
        await self.async_llm.collective_rpc("take_shared_weights", args=(offered,))
        await self.async_llm.finish_weight_update()
        await self.async_llm.resume_generation()

    async def _take(self, asked: dict[str, Any] | None) -> None:
        from vllm.lora.request import LoRARequest

        if asked is not None:
            adapter = LoRARequest(**asked)
            await self.async_llm.add_lora(adapter)
            self._adapter = adapter

    def get_lora_request(self, lora_path: str | None = None) -> Any:
        """The adapter that is sampled with; None before the first sync."""
        return self._adapter

    def _import_server(self) -> None:
        """Import the HTTP server's modules, while the process with the model starts up."""
        importlib.import_module("vllm.entrypoints.openai.api_server")
        serving = importlib.import_module("vllm.entrypoints.openai.chat_completion.serving")
        vllm.token_lists.apply(
            serving.OpenAIServingChat,
            serving.ChatCompletionLogProbs.model_construct,
            importlib.import_module("vllm.v1.engine.logprobs"),
        )
        router = importlib.import_module("vllm.entrypoints.openai.chat_completion.api_router")
        vllm.load_counted_in_the_loop.apply(
            importlib.import_module(router.load_aware_call.__module__)
        )
        self._marks.mark("engine_waits_for_model")

    async def startup_marks(self) -> dict[str, float]:
        """When this process was there and when it served; see rlagent.base.startup."""
        return self._marks.times()
