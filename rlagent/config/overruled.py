"""Settings of `trinity:` that say the same as a key of ours, and overrule it: refused or told.

Refused where rlagent itself reckons with the key, since what follows from it would not change
along: the batch arithmetic, the layout, lengths and memory. Elsewhere Trinity's word wins, as it
is there for, and that is said with the choices.
"""

from collections.abc import Iterator
from typing import Any

from rlagent.base.errors import Problem, written
from rlagent.config.check import get
from rlagent.config.schema import LearnConfig

_OPTIMIZER = "algorithm.optimizer"
_ROLLOUT = "explorer.rollout_model"

RECKONED = {
    "algorithm.algorithm_type": "algorithm.name",
    "algorithm.repeat_times": "algorithm.repeat_times",
    "buffer.batch_size": "algorithm.batch_size",
    "buffer.train_batch_size": "algorithm.train_batch_size",
    "buffer.total_epochs": "algorithm.total_epochs",
    # Trinity counts steps in two places; explorer and trainer must end at the same one.
    "buffer.total_steps": "algorithm.total_steps",
    "trainer.total_steps": "algorithm.total_steps",
    "synchronizer.sync_interval": "algorithm.sync_interval",
    "synchronizer.sync_offset": "algorithm.max_lag",
    "explorer.eval_interval": "algorithm.eval_interval",
    "model.model_path": "model.path",
    "model.max_model_len": "model.max_model_len",
    "model.max_response_tokens": "model.max_response_tokens",
    "cluster.node_num": "hardware.nodes",
    f"{_ROLLOUT}.engine_num": "hardware.engines",
    f"{_ROLLOUT}.tensor_parallel_size": "hardware.tensor_parallel",
    f"{_ROLLOUT}.gpu_memory_utilization": "hardware.gpu_memory_utilization",
    "trainer.ulysses_sequence_parallel_size": "hardware.sequence_parallel",
    "trainer.offload_policy": "hardware.offload",
}
"""Fields of Trinity, each with the key that it is translated from and that more depends on."""

PLACE = {"project": "monitor.project", "group": "monitor.group", "name": "run.name"}
"""Trinity's place of a run: here that is the run folder, and the names are the dashboard's."""

TOLD = {
    f"{_OPTIMIZER}.lr": "algorithm.lr",
    f"{_OPTIMIZER}.lr_warmup_steps": "algorithm.lr_warmup_steps",
    f"{_OPTIMIZER}.lr_scheduler_type": "algorithm.lr_schedule",
    f"{_OPTIMIZER}.weight_decay": "algorithm.weight_decay",
    f"{_OPTIMIZER}.clip_grad": "algorithm.grad_clip",
    "algorithm.loss_agg_mode": "algorithm.loss_agg_mode",
    "algorithm.policy_loss_fn_args.clip_range": "algorithm.clip_range",
    "algorithm.kl_loss_fn_args.kl_coef": "algorithm.kl_coef",
    "algorithm.entropy_loss_fn_args.entropy_coef": "algorithm.entropy_coef",
    "model.temperature": "model.temperature",
    "model.top_p": "model.top_p",
    "model.top_k": "model.top_k",
    "model.trust_remote_code": "model.trust_remote_code",
    "model.enable_thinking": "model.enable_thinking",
    f"{_ROLLOUT}.dtype": "model.dtype",
    f"{_ROLLOUT}.tool_call_parser": "model.tool_call_parser",
    f"{_ROLLOUT}.reasoning_parser": "model.reasoning_parser",
    f"{_ROLLOUT}.enforce_eager": "hardware.enforce_eager",
    f"{_ROLLOUT}.enable_prefix_caching": "hardware.prefix_caching",
    f"{_ROLLOUT}.seed": "seed",
    "trainer.trainer_config.seed": "seed",
    "trainer.trainer_config.threads": "hardware.threads",
    "trainer.grad_clip": "algorithm.grad_clip",
    "trainer.save_interval": "algorithm.save_interval",
    "trainer.max_checkpoints_to_keep": "algorithm.keep_checkpoints",
}
"""The same, for keys that nothing else follows from."""


def overruled_problems(config: LearnConfig) -> list[Problem]:
    """Return which keys that rlagent reckons with are contradicted by a field of Trinity.

    Args:
        config: Resolved, so that it says of every key what the run would take.
    """
    return [
        Problem(
            f"trinity.{field}",
            value,
            f"contradicts {key}={written(ours)}, from which other settings follow too",
            f"set {key}={written(value)} instead",
        )
        for field, key, ours, value in _contradicted(config, {**RECKONED, **PLACE})
    ]


def overruled_choices(config: LearnConfig) -> list[tuple[str, str, str]]:
    """Return which other keys are overruled: the key, what is taken, and how to choose otherwise.

    A key without a value leaves the choice to Trinity, and so contradicts nothing.
    """
    return [
        (
            key,
            f"{written(value)}, since trinity.{field} wins over {written(ours)}",
            "leave that out",
        )
        for field, key, ours, value in _contradicted(config, TOLD)
        if ours is not None
    ]


def _contradicted(
    config: LearnConfig, fields: dict[str, str]
) -> Iterator[tuple[str, str, Any, Any]]:
    """Yield field, key, the key's value and the field's where the two differ."""
    for field, key in fields.items():
        value, ours = _at(config.trinity, field), get(config, key)
        if value is not None and value != ours:
            yield field, key, ours, value


def _at(tree: Any, dotted: str) -> Any:
    for part in dotted.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree
