"""TRL's numbers of a recorded batch: its own trainers take one step on it.

The rollouts are handed to them in the place of those that they would sample.
"""

from pathlib import Path
from typing import Any

import torch
from parity import CLIP_GRAD, LR, RUNS, TASKS, WEIGHT_DECAY, Numbers, Recorded, weights_of
from transformers import AutoTokenizer


def step(
    recorded: Recorded,
    folder: Path,
    advantages: torch.Tensor | None,
    importance: dict[str, Any] | None,
    **settings: Any,
) -> Numbers:
    """A step of GRPOTrainer.

    Args:
        advantages: In the place of TRL's own; shape (rollouts, longest response).
        importance: Its settings `vllm_importance_sampling_*`, with the policy's own
            log-probabilities as the old ones; None: those recorded are the old ones.
        settings: Of TRL's GRPOConfig.
    """
    from trl import GRPOConfig, GRPOTrainer

    made: dict[str, Any] = {}

    class Replaying(GRPOTrainer):
        def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
            made.update(super()._generate_and_score_completions(inputs))
            made.setdefault("old_per_token_logps", made["sampling_per_token_logps"])
            if advantages is not None:
                made["advantages"] = advantages
            return dict(made)

    def rollouts(prompts: list[str], trainer: Any) -> dict[str, Any]:
        return {
            "prompt_ids": recorded.prompts,
            "completion_ids": recorded.responses,
            "logprobs": recorded.logprobs,
            "env_mask": recorded.masks,
        }

    named = {f"vllm_importance_sampling_{key}": each for key, each in (importance or {}).items()}
    config = GRPOConfig(**_common(folder), **settings, **named)
    trainer = _made(recorded, Replaying, config, rollouts)
    if importance is not None:
        # As if a vLLM that has the weights already were there: it is asked for nothing else.
        trainer.use_vllm, trainer._last_loaded_step = True, 0
    numbers = _trained(trainer, made)
    mask = made["completion_mask"] * made["tool_mask"]
    logged = trainer.state.log_history[0]
    if settings["loss_type"] in ("dapo", "cispo"):
        # It shows means over tokens whatever the loss is.
        numbers.kl = logged.get("kl")
        numbers.entropy = logged["entropy"] if settings.get("entropy_coef") else None
    if importance is not None:
        numbers.importance = made["importance_sampling_ratio"] * mask
        numbers.proximal = made["old_per_token_logps"]
        numbers.behaviour = made["sampling_per_token_logps"]
        numbers.mask = mask.bool()
    return numbers


def rloo_step(recorded: Recorded, folder: Path, **settings: Any) -> Numbers:
    """A step of RLOOTrainer, which knows nothing of tools.

    Args:
        settings: Of TRL's RLOOConfig.
    """
    from trl import RLOOConfig, RLOOTrainer

    made: dict[str, Any] = {}

    class Replaying(RLOOTrainer):
        def _generate(self, prompts: list[str]) -> Any:
            return recorded.prompts, recorded.responses, [""] * len(prompts)

        def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
            made.update(super()._generate_and_score_completions(inputs))
            return dict(made)

    config = RLOOConfig(**_common(folder), **settings)
    return _trained(_made(recorded, Replaying, config), made)


def _common(folder: Path) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "per_device_train_batch_size": TASKS * RUNS,
        "num_generations": RUNS,
        "max_steps": 1,
        "learning_rate": LR,
        "weight_decay": WEIGHT_DECAY,
        "max_grad_norm": CLIP_GRAD,
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "shuffle_dataset": False,
    }


def _made(recorded: Recorded, kind: type, config: Any, rollouts: Any = None) -> Any:
    from datasets import Dataset

    def rewards(completions: list[Any], **_: Any) -> list[float]:
        return recorded.rewards

    return kind(
        model=recorded.model(),
        reward_funcs=rewards,
        args=config,
        train_dataset=Dataset.from_dict({"prompt": [f"w{task}" for task in range(TASKS)]}),
        processing_class=AutoTokenizer.from_pretrained(recorded.reference),
        **({} if rollouts is None else {"rollout_func": rollouts}),
    )


def _trained(trainer: Any, made: dict[str, Any]) -> Numbers:
    """The numbers of a step that is taken now; `made` is filled by it."""
    loss = trainer.train().training_loss
    mask = made["completion_mask"] * made.get("tool_mask", 1)
    advantages = made["advantages"]
    return Numbers(
        weights=weights_of(trainer.model),
        grad_norm=trainer.state.log_history[0]["grad_norm"],
        loss=loss,
        advantages=(advantages if advantages.ndim == 2 else advantages.unsqueeze(1)) * mask,
    )
