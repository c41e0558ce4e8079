"""vLLM's worker as Trinity extends it, without what only mixtures of experts need."""

from trinity.common.models import vllm_worker


class RolloutWorker(vllm_worker.TrinityGPUWorker):
    """Holds the model of a rollout engine."""

    def apply_patches(self) -> None:
        """Apply Trinity's patches to vLLM.

        The one for mixtures of experts imports verl and eight model classes, seconds in which
        everything else waits for the engine.
        """
        if self.model_config.is_moe:
            super().apply_patches()
            return
        from trinity.common.models.vllm_patch.worker_patch import patch_vllm_prompt_logprobs

        patch_vllm_prompt_logprobs(self.model_runner)
        vllm_worker._suppress_layerwise_reload_warnings()
