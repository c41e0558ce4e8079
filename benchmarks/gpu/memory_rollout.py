"""One vLLM engine as Trinity starts it, with random weights: what it takes of its GPUs.

Imports first, then waits for its one job on the standard input; see memory.py.
"""

import argparse
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

# As Trinity's vllm_model.py sets them: the engine of one GPU lives in this process.
os.environ |= {
    "VLLM_USE_V2_MODEL_RUNNER": "0",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_ALLREDUCE_USE_SYMM_MEM": "0",
}

from machine import GIB, Peaks, used_gib
from memory import say

SEQUENCES = 64
PROMPT_TOKENS = 256
NEW_TOKENS = 256


def measure(job: dict[str, Any], folder: Path, gpus: list[int]) -> dict[str, Any]:
    """Start the engine, let it answer a full batch; memory and seconds of both."""
    import vllm
    from vllm.config import WeightTransferConfig

    before = [used_gib()[gpu] for gpu in gpus]
    with Peaks() as peaks:

        def most() -> float:
            used = peaks.gib()
            return max(used[gpu] - there for gpu, there in zip(gpus, before, strict=True))

        began = time.perf_counter()
        engine = vllm.LLM(
            model=str(folder),
            load_format="dummy",
            dtype="bfloat16",
            tensor_parallel_size=len(gpus),
            gpu_memory_utilization=job["utilization"],
            max_model_len=job["lengths"]["max_model_len"],
            max_num_seqs=job["lengths"]["rollouts"],
            enforce_eager=not job["graphs"],
            enable_prefix_caching=True,
            seed=1,
            # Of one GPU Trinity's is a process of its own; that would import everything again.
            distributed_executor_backend="mp" if len(gpus) > 1 else None,
            logprobs_mode="processed_logprobs",
            async_scheduling=True,
            weight_transfer_config=WeightTransferConfig(backend="nccl"),
        )
        started, start_gib = time.perf_counter(), most()
        prompts = [
            {"prompt_token_ids": [5 + (7 * row + column) % 400 for column in range(PROMPT_TOKENS)]}
            for row in range(SEQUENCES)
        ]
        # Trinity asks for the logprob of each token.
        asked = vllm.SamplingParams(
            temperature=1.0, max_tokens=NEW_TOKENS, ignore_eos=True, logprobs=0
        )
        seconds = []
        for _ in range(2):
            since = time.perf_counter()
            answers = engine.generate(prompts, asked, use_tqdm=False)
            seconds.append(time.perf_counter() - since)
        tokens = sum(len(answer.outputs[0].token_ids) for answer in answers)
        time.sleep(0.3)  # One more look of the watch.
    cache = engine.llm_engine.vllm_config.cache_config
    try:
        parts: Any = engine.collective_rpc(parts_of)[0]
    # The peaks are measured whether or not this version of vLLM has these.
    except Exception as error:
        parts = f"{type(error).__name__}: {error}"
    return {
        "engine_parts": parts,
        "peak_gib": round(most(), 2),
        "start_gib": round(start_gib, 2),
        "others_gib": before,
        "start_s": round(started - began, 1),
        "generate_s": seconds,
        "generated": tokens,
        "kv_blocks": cache.num_gpu_blocks,
        "block_size": cache.block_size,
    }


def parts_of(worker: Any) -> dict[str, float]:
    """What vLLM's profile run found, GiB, from within an engine's process."""
    import torch

    found = {
        "activations": worker.peak_activation_memory,
        "beside torch": worker.non_torch_memory,
        "graphs expected": worker.cudagraph_memory_estimate,
        "share": worker.requested_memory,
        "weights": worker.model_runner.model_memory_usage,
        "allocated": torch.cuda.memory_allocated(),
        "reserved": torch.cuda.memory_reserved(),
    }
    return {name: round(value / GIB, 3) for name, value in found.items()}


def main() -> int:
    """Measure the job that comes in."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gpus", type=int, nargs="+", required=True, help="as NVML counts them")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    import vllm  # noqa: F401

    say({"ready": True})
    for line in sys.stdin:
        job = json.loads(line)
        row: dict[str, Any] = {"name": job["name"], "rank": 0}
        try:
            folder = options.out / "configs" / job["model"]
            row |= {"state": "measured", **measure(job, folder, options.gpus)}
        # One point that cannot be had must not cost the others.
        except Exception as error:
            traceback.print_exc()
            full = "out of memory" in str(error).lower()
            state = "out of memory" if full else "failed"
            row |= {"state": state, "cause": f"{type(error).__name__}: {error}"[:600]}
        say(row)
        break
    sys.stdout.flush()
    # The engine's own way out takes long.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
