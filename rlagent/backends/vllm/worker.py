"""vLLM's worker as Trinity extends it, without what only mixtures of experts need."""

import torch
from trinity.common.models import vllm_worker

from rlagent.backends import shared_weights
from rlagent.upstream import trinity_hooks


class RolloutWorker(vllm_worker.TrinityGPUWorker):
    """Holds the model of a rollout engine."""

    def apply_patches(self) -> None:
        """Apply Trinity's patches to vLLM.

        The one for mixtures of experts imports verl and eight model classes, seconds in which
        everything else waits for the engine.
        """
        trinity_hooks.vllm_worker_patches.apply()
        if self.model_config.is_moe:
            super().apply_patches()
            return
        from trinity.common.models.vllm_patch.worker_patch import patch_vllm_prompt_logprobs

        patch_vllm_prompt_logprobs(self.model_runner)
        vllm_worker._suppress_layerwise_reload_warnings()

    def take_shared_weights(self, offered: bytes) -> None:
        """Load the weights that the trainer published on this GPU (backends/shared_weights.py).

        vLLM reads them there until `finish_weight_update`.
        """
        with torch.device(self.device):
            self.model_runner.model.load_weights(
                shared_weights.taken(offered, torch.accelerator.current_device_index())
            )

    def finish_weight_update(self) -> None:
        """End a sync of weights, and give back what they arrived in.

        They are received on two streams that are others each time, and torch keeps freed memory
        for the stream that it was taken for: with 1.7B parameters the GPU was full after six
        syncs, and NCCL gets nothing of what torch keeps.
        """
        super().finish_weight_update()
        torch.cuda.empty_cache()
