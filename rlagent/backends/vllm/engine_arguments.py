"""How vLLM is started for one rollout engine: decisions on plain values, without importing it."""

import os
import tempfile
from typing import Any

GRAPH_SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""Batches for which CUDA graphs are captured. vLLM's own list has every eighth and captures for
half a minute; between two of these a batch is padded by at most a half, which costs a decoding
step of a few hundred sequences little: it waits for the weights, not for arithmetic."""

LOOPBACK = "127.0.0.1"

SHARED_WEIGHTS = "shared_weights"
"""Not vLLM's: the trainer hands the weights over on the GPU (backends/shared_weights.py)."""

WORKER = "rlagent.backends.vllm.worker.RolloutWorker"


def capture_sizes(concurrency: int) -> list[int]:
    """Batch sizes to capture for at most `concurrency` sequences at once.

    As with vLLM, up to twice as many tokens, for steps that also read prompts. The full batch
    has a graph of its own, so that it is not padded.

    >>> capture_sizes(20)
    [1, 2, 4, 8, 16, 20, 24, 32, 40]
    """
    most = min(2 * concurrency, GRAPH_SIZES[-1])
    sizes = {size for size in GRAPH_SIZES if size <= most}
    return sorted(sizes | {most, min(concurrency, most)})


def engine_arguments(gpus: int, extra: dict[str, Any]) -> dict[str, Any]:
    """vLLM arguments that replace Trinity's own for an engine.

    Args:
        gpus: GPUs of the engine.
        extra: `explorer.rollout_model.extra_engine_args`; what it says wins.
    """
    ours: dict[str, Any] = {"worker_cls": WORKER}
    if gpus == 1:
        # As vLLM does by itself: the model lives in the engine's process. Trinity asks for one
        # process more, which imports everything once more before it loads the model.
        ours["distributed_executor_backend"] = "uni"
    return {key: extra.get(key, value) for key, value in ours.items()}


def environment(arguments: dict[str, Any]) -> dict[str, str]:
    """Environment of an engine with these arguments, where the user says nothing."""
    if not is_one_process(arguments):
        return {}
    # vLLM asks the network for this host's address, to meet the engine's one process there.
    return {"VLLM_HOST_IP": LOOPBACK}


def template_argument(text: str) -> str:
    """A chat template as vLLM's server takes it: a file. Of a text it decodes what looks like
    escapes, those in Jinja's own strings too, and other letters than ASCII are lost."""
    folder = tempfile.mkdtemp(prefix="chat-template-")
    path = os.path.join(folder, "chat_template.jinja")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def is_one_process(arguments: dict[str, Any]) -> bool:
    """Whether the engine's one process holds the model, too."""
    return bool(arguments.get("distributed_executor_backend") == "uni")
