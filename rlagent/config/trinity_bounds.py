"""Which numbers the settings of Trinity take: Trinity's own schema bounds none.

A name means the same wherever it stands, but for those that are written with what is around them.
"""

from typing import Any

from rlagent.base.errors import Problem
from rlagent.base.limits import DAY, Limits
from rlagent.config.schema import GPUS_OF_NODE, MOST_GPUS, MOST_STEPS, MOST_TOKENS
from rlagent.config.trinity_fate import settings_of
from rlagent.config.trinity_schema import trinity_spec


def _all(names: str, limits: Limits) -> dict[str, Limits]:
    return dict.fromkeys(names.split(), limits)


_SHARE, _SECONDS = Limits(0, 1), Limits(0, 30 * DAY, unit="seconds")

BOUNDS: dict[str, Limits] = {
    "lr": Limits(1e-12, below=1),
    "lr_warmup_steps": Limits(-1, MOST_STEPS, note="-1: by lr_warmup_steps_ratio"),
    **_all("lr_warmup_steps_ratio min_lr_ratio", _SHARE),
    "betas": Limits(0, below=1),
    "weight_decay": Limits(0, 10),
    **_all("clip_grad grad_clip", Limits(1e-6, 1e12)),
    # Experiences are scored at the temperature that they were sampled at.
    "temperature": Limits(0.01, 100),
    "eval_tasksets[].rollout_args.temperature": Limits(0, 100),
    "auxiliary_models[].temperature": Limits(0, 100),
    "top_p": Limits(1e-6, 1),
    "top_k": Limits(-1, 10_000_000, note="-1: all tokens"),
    "repetition_penalty": Limits(0.01, 100),
    **_all("max_model_len max_prompt_tokens max_response_tokens", Limits(1, MOST_TOKENS)),
    "max_tokens": Limits(1, MOST_TOKENS),
    "max_token_len_per_gpu": Limits(1, 1_000_000_000),
    "lora_rank": Limits(1, 65_536),
    **_all("lora_alpha max_cpu_loras", Limits(1, 1_000_000)),
    "rope_theta": Limits(1, 1e15),
    "node_num": Limits(0, MOST_GPUS),
    "gpu_per_node": Limits(0, GPUS_OF_NODE),
    "engine_num": Limits(1, MOST_GPUS),
    **_all(
        "tensor_parallel_size data_parallel_size pipeline_parallel_size "
        "ulysses_sequence_parallel_size",
        Limits(1, GPUS_OF_NODE),
    ),
    "gpu_memory_utilization": Limits(0.01, 1),
    "base_port": Limits(1, 65_535),
    "weight_sync_buffer_size": Limits(1, 1_000_000, unit="MiB"),
    "seed": Limits(0, below=2**32),
    "batch_size": Limits(1, 100_000),
    "train_batch_size": Limits(0, 100_000_000, note="0: batch_size x repeat_times"),
    "repeat_times": Limits(1, 10_000),
    **_all("total_epochs total_steps sync_interval", Limits(1, MOST_STEPS)),
    **_all("explorer_sync_interval trainer_sync_interval", Limits(1, MOST_STEPS)),
    **_all("sync_offset eval_interval save_interval critic_warmup", Limits(0, MOST_STEPS)),
    **_all("max_checkpoints_to_keep warmup_min_steps", Limits(0, MOST_STEPS)),
    "capacity": Limits(1, 1_000_000_000),
    **_all("max_timeout sync_timeout max_read_timeout", Limits(0.001, 30 * DAY, unit="seconds")),
    **_all("reuse_cooldown_time wait_after_min runner_state_report_interval", _SECONDS),
    **_all("runner_per_model runner_prepare_concurrency", Limits(1, 100_000)),
    **_all("runner_prepare_max_retries max_retry_times", Limits(0, 1000)),
    "max_inflight_batches": Limits(1, 1000),
    "over_rollout.ratio": Limits(0, below=1),
    "dynamic_timeout.ratio": Limits(0.001, 1e6),
}
"""By the end of a setting's key, as trinity_table.py writes it."""


def bounds_of(key: str) -> Limits | None:
    """Return the bounds of a setting by its key in the table; None where it has none.

    >>> bounds_of("buffer.explorer_input.taskset.rollout_args.top_p").words()
    'at least 1e-06 and at most 1'
    """
    while key:
        if key in BOUNDS:
            return BOUNDS[key]
        key = key.partition(".")[2]
    return None


def bound_problems(tree: dict[str, Any], prefix: str) -> list[Problem]:
    """Return the numbers of settings for Trinity that mean nothing, each with the range.

    Args:
        tree: Settings for Trinity.
        prefix: `trinity.` for overrides; empty for a native YAML.
    """
    spec = trinity_spec()
    found = []
    for item in settings_of(tree, spec) if spec else ():
        limits = bounds_of(item.key)
        values = item.value if isinstance(item.value, list) else [item.value]
        problems = [limits.problem(f"{prefix}{item.shown}", each) for each in values if limits]
        found += [problem for problem in problems if problem]
    return found
