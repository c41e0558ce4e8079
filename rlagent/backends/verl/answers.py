"""What verl as a trainer answers: see rlagent.backends.base."""

from typing import Any

from rlagent.backends.base import Start, Trainer
from rlagent.base.lora import ALL_LINEAR, LoraConfig
from rlagent.machine.flash_attention import PACKED
from rlagent.planner.workload import micro_batch_tokens

ADAPTER_NAME = "adapter"


class Verl(Trainer):
    """verl with FSDP2."""

    name = "verl"
    process = "rlagent.backends.verl.trainer:StepTrainer"
    weights = "rlagent.backends.verl.weights:read_weights"
    packages = ("verl",)
    micro_batches = True

    def settings(self, start: Start) -> dict[str, Any]:
        """See Trainer."""
        tree = {
            "use_dynamic_bsz": True,
            "max_token_len_per_gpu": micro_batch_tokens(start.max_model_len, start.vocab),
            "ulysses_sequence_parallel_size": start.sequence_parallel,
            # FSDP2's own; verl's param_offload and optimizer_offload load all of it back for
            # the update, and so lower no peak.
            "offload_policy": start.offload,
            **self.kernel(start.attention),
        }
        if start.offload:
            # Adam steps on the host: torch's fused one goes over its memory once, not per term.
            fused = {"optim": {"override_optimizer_config": {"fused": True}}}
            tree["trainer_config"] = tree.get("trainer_config", {}) | {"actor": fused}
        return tree

    def kernel(self, attention: str) -> dict[str, Any]:
        """See Trainer."""
        if attention == "flash_attention_2":
            # As verl does by itself.
            return {}
        name = PACKED if attention == "packed" else attention
        return {
            # Packed sequences have no padding; sdpa knows padded ones only.
            "use_remove_padding": attention == "packed",
            "trainer_config": {"model": {"override_config": {"attn_implementation": name}}},
        }

    def adapter(self, lora: LoraConfig) -> dict[str, Any]:
        """See Trainer.

        Trinity's own adapter is one of random weights, of a whole model made for it in the
        driver's memory. Until the first sync the engine samples from the base alone, which is the
        same policy: the path is never read.
        """
        every = ALL_LINEAR in lora.target_modules
        names = "|".join(lora.target_modules)
        one = {
            "name": ADAPTER_NAME,
            "path": ADAPTER_NAME,
            "is_dummy": True,
            "lora_rank": lora.rank,
            "lora_alpha": lora.alpha,
            # A text is matched with the whole name of a module.
            "target_modules": ALL_LINEAR if every else rf".*\.({names})",
        }
        # The base stays as it was loaded: in half precision nothing of it is lost.
        base = {"actor": {"fsdp_config": {"model_dtype": "bf16"}}}
        return {
            "model": {"lora_configs": [one]},
            "trainer": {"save_hf_checkpoint": "never", "trainer_config": base},
            # The adapter goes through files, to engines of other processes and nodes.
            "synchronizer": {"sync_method": "checkpoint"},
        }

    def sync_method(self, colocated: bool) -> str:
        """See Trainer."""
        return "memory" if colocated else "nccl"


TRAINER = Verl()
