"""Rough numbers to warn with before a run starts: gigabytes to download, minutes to train.

Right within a factor of about three; nothing is decided by them.
"""

import os
from pathlib import Path

from rlagent.config.paths import local_path
from rlagent.config.schema import LearnConfig, ModelShape
from rlagent.layout.fit import parameters
from rlagent.layout.layout import Layout

LONG_RUN_MINUTES = 10.0
_TYPICAL_SHARE = 0.3
"""Tokens of a usual response as a share of the longest one allowed..."""
_TYPICAL_TOKENS = 1000
"""... and at most this many: few answers use a long allowance up."""
_CALLS = 2.5
"""Model calls of one agent rollout."""
_CPU_FLOPS_PER_CORE = 15e9
"""What small matrices reach on one core in fp32."""
_GPU_FLOPS = 150e12
"""What training reaches on one data-centre GPU in bf16."""
_GPU_DECODE_TOKENS = 3e13
"""Tokens per second times parameters that one engine decodes in large batches."""
_START_SECONDS = {"embedded": 40.0, "vllm": 190.0}
_STEP_SECONDS = {"embedded": 2.0, "vllm": 5.0}
"""What a step takes beside the model: agent code, HTTP, Ray."""


def hub_cache() -> Path:
    """Return the Hugging Face cache folder, as huggingface_hub finds it."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{cache}/huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or f"{home}/hub").expanduser()


def is_cached(hub_id: str, kind: str = "models") -> bool:
    """Return whether a hub model or dataset (`datasets`) is in the local cache."""
    folder = hub_cache() / f"{kind}--{hub_id.replace('/', '--')}" / "snapshots"
    return folder.is_dir() and any(folder.iterdir())


def download_gb(path: str, shape: ModelShape) -> float:
    """Return the GB (1e9 bytes) that a model still has to be downloaded; 0 when it is here."""
    if local_path(path) is not None or is_cached(path):
        return 0.0
    return parameters(shape) * 2 / 1e9


def run_minutes(config: LearnConfig, layout: Layout, cores: int) -> float:
    """Return roughly how many minutes the resolved run takes, start and evaluation included."""
    engine = config.hardware.engine
    algorithm = config.algorithm
    size = max(parameters(config.model.shape), 1_000_000)
    rollouts = int(algorithm.batch_size) * int(algorithm.repeat_times)
    per_call = min(_TYPICAL_SHARE * int(config.model.max_response_tokens), _TYPICAL_TOKENS)
    per_rollout = _CALLS * per_call
    tokens = rollouts * per_rollout
    # 2 operations per parameter and token forwards, 6 with the backward pass, 8 with the old
    # log-probabilities; the prompt counts about as much as the response.
    training = 8 * size * tokens * 2
    if engine == "embedded":
        speed = _CPU_FLOPS_PER_CORE * cores
        step = (training + 2 * size * tokens * 2) / speed
    else:
        decode = tokens * size / (_GPU_DECODE_TOKENS * layout.rollout_gpus)
        step = max(decode, per_rollout / 60) + training / (_GPU_FLOPS * layout.trainer_gpus)
    step += _STEP_SECONDS[engine]
    evaluations = 2.0
    if algorithm.eval_interval:
        evaluations += int(algorithm.total_steps) / algorithm.eval_interval
    # An evaluation generates but does not train.
    share = 0.4 * (config.dataset.eval_tasks or 1000) / rollouts
    seconds = _START_SECONDS[engine] + step * (int(algorithm.total_steps) + evaluations * share)
    return seconds / 60
