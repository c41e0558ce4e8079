"""Plain Trinity with the upstream example's settings, to compare with: no code of ours runs it.

Trinity's own launcher, explorer, trainer, runners and AgentScope adapter run the same workflow
function on the same model and tasks as benchmarks/gpu/speed.yaml; only the rows of metrics.jsonl
are written by us. Call it through run.sh, whose environment it needs.

    BENCHMARK=upstream benchmarks/gpu/run.sh WORKLOAD OUT [MINUTES] [STACK]

What differs from the example: without flash-attn attention is padded sdpa; models that do not
think have no reasoning parser; and a required tool call is only asked for (--tool-choice as_asked
keeps it), as ours does, since otherwise the conversations are others.
"""

import argparse
import functools
import json
import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import measured
import yaml
from machine import await_free_gpus, commit

from rlagent.base.paths import resolve_path
from rlagent.machine.resources import detect
from rlagent.records.folder import RunFolder

TRAIN_BATCH = 256
TASKS, REPEATS = 32, 8


@dataclass(frozen=True)
class Workload:
    """What is trained, as in speed.yaml."""

    preset: str
    max_model_len: int
    max_response_tokens: int
    lr: float
    dtype: str
    steps: int
    # Turns of the agent; None: its own limit.
    max_iters: int | None = None
    # Weight of the KL loss; None: the algorithm's own.
    kl_coef: float | None = None
    # Tokens of a micro-batch.
    tokens_per_gpu: int = 24576


WORKLOADS = {
    "smollm": Workload("smollm2_135m", 2048, 128, 1e-5, "bfloat16", steps=8, max_iters=1),
    # On one trainer GPU the four copies of 24,576 tokens' logits do not fit beside the optimizer.
    "1.7b": Workload(
        "qwen3_1_7b", 2048, 128, 1e-6, "bfloat16", steps=9, max_iters=1, tokens_per_gpu=8192
    ),
    "tiny": Workload("tiny", 1024, 160, 3e-4, "float32", steps=12, kl_coef=0.0),
}


def tree(work: Workload, model: str, data: str, out: Path, namespace: str) -> dict[str, Any]:
    """The native configuration: the example's, on one rollout and one trainer GPU."""
    algorithm: dict[str, Any] = {
        "algorithm_type": "multi_step_grpo",
        "repeat_times": REPEATS,
        "optimizer": {"lr": work.lr},
        "bypass_old_logprobs": True,
    }
    if work.kl_coef == 0:
        algorithm["kl_loss_fn"] = "none"
    return {
        "mode": "both",
        "project": "upstream",
        "name": "upstream",
        "checkpoint_root_dir": str(out / "checkpoints"),
        "ray_namespace": namespace,
        "continue_from_checkpoint": False,
        "ignore_validator_suggestions": True,
        "algorithm": algorithm,
        "model": {
            "model_path": model,
            "max_model_len": work.max_model_len,
            "max_response_tokens": work.max_response_tokens,
            "temperature": 1.0,
        },
        "cluster": {"node_num": 1, "gpu_per_node": 2},
        "buffer": {
            "batch_size": TASKS,
            "train_batch_size": TRAIN_BATCH,
            "total_steps": work.steps,
            "explorer_input": {
                "tasksets": [
                    {
                        "name": "train",
                        "storage_type": "file",
                        "path": data,
                        "split": "train",
                        "default_workflow_type": "agentscope_workflow_adapter_v1",
                        # Where our monitor writes its rows.
                        "workflow_args": {"run_folder": str(out), "attempt": 1},
                    }
                ]
            },
            "trainer_input": {
                "experience_buffer": {
                    "name": "experience_buffer",
                    "storage_type": "queue",
                    "max_read_timeout": 600,
                }
            },
        },
        "explorer": {
            "runner_per_model": 8,
            "concurrent_mode": "asynchronous",
            "rollout_model": {
                "engine_type": "vllm",
                "engine_num": 1,
                "tensor_parallel_size": 1,
                "enable_prefix_caching": False,
                "enforce_eager": True,
                "enable_openai_api": True,
                "enable_history": True,
                "enable_auto_tool_choice": True,
                "tool_call_parser": "hermes",
                "dtype": work.dtype,
                "seed": 42,
            },
        },
        "trainer": {
            "trainer_type": "verl",
            "save_interval": 100,
            "save_hf_checkpoint": "never",
            "use_dynamic_bsz": True,
            "max_token_len_per_gpu": max(work.tokens_per_gpu, work.max_model_len),
            "ulysses_sequence_parallel_size": 1,
            "use_remove_padding": False,
            "trainer_config": {"model": {"override_config": {"attn_implementation": "sdpa"}}},
        },
        "synchronizer": {
            "sync_style": "dynamic_by_explorer",
            "sync_method": "nccl",
            "sync_interval": 2,
            "sync_timeout": 1200,
        },
        "data_processor": {"experience_pipeline": {"save_input": False}},
        "monitor": {"monitor_type": "rlagent.trinity.monitor.RunFolderMonitor"},
    }


async def freely(task: dict, model: Any, function: Any = None) -> Any:
    """The workflow function with a model that is asked for tool calls, not made to emit them."""
    from agentscope.model import OpenAIChatModel

    # No annotations: cloudpickle leaves their names behind.
    class Free(OpenAIChatModel):
        async def __call__(self, *args, tool_choice=None, **kwargs):  # type: ignore[no-untyped-def]
            asked = "auto" if tool_choice == "required" else tool_choice
            return await super().__call__(*args, tool_choice=asked, **kwargs)

    model.__class__ = Free
    return await function(task=task, model=model)


def row_of(out: Path, began: float) -> dict[str, Any]:
    """What was measured so far."""
    rows = RunFolder(out).read_metrics()
    explored = [
        row["metrics"]["experience_pipeline/experience_count"]
        for row in rows
        if "experience_pipeline/experience_count" in row["metrics"]
    ]
    ends = [row["time"] for row in rows if "time/train_step" in row["metrics"]]
    per_step = sum(explored) / len(explored) if explored else None
    steady = None
    if per_step:
        done = [(end, number * TRAIN_BATCH / per_step) for number, end in enumerate(ends, 1)]
        steady = measured.steady_seconds(done)
    result = measured.of_run(out)
    return {
        **result,
        # Of 32 tasks x 8 rollouts, generated and trained, as ours.
        "seconds_per_step": steady and round(steady, 3),
        "train_steps": len(ends),
        "explore_steps": len(explored),
        "experiences_per_explore_step": per_step and round(per_step, 1),
        "to_first_step_s": round(ends[0] - began, 1) if ends else None,
        "startup_s": _until_exploring(out, began),
        "model_version_lag": _lag(rows),
    }


def _until_exploring(out: Path, began: float) -> float | None:
    """Seconds until the first step began to be explored, as Trinity's explorer logged it."""
    for log in out.glob("logs/**/*"):
        text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
        found = re.search(r"(\d\d-\d\d \d\d:\d\d:\d\d).*Explore step 1 started", text)
        if found:
            year = time.localtime(began).tm_year
            at = time.strptime(f"{year}-{found[1]}", "%Y-%m-%d %H:%M:%S")
            return round(time.mktime(at) - began, 1)
    return None


def _lag(rows: list[dict[str, Any]]) -> float | None:
    """Steps between the weights that sampled and those that are trained, in the last step."""
    for row in reversed(rows):
        mean = row["metrics"].get("sample/model_version/mean")
        if mean is not None:
            return round(row["step"] - 1 - mean, 2)
    return None


def model_folder(preset: str, out: Path) -> str:
    """The model's folder; random weights are made unless points.py made them there."""
    if preset == "tiny":
        return resolve_path("builtin:tiny")
    folder = out / "models" / preset
    if not (folder / "config.json").is_file():
        make = Path(__file__).with_name("random_model.py")
        subprocess.run([sys.executable, str(make), preset, str(folder)], check=True)
    return str(folder)


def main() -> int:
    """Run one workload and print its row; past the time limit, what there is until then."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", choices=sorted(WORKLOADS), required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--data", default="builtin:gsm8k_tiny", help="folder with train.jsonl")
    parser.add_argument("--tool-choice", choices=("free", "as_asked"), default="free")
    options = parser.parse_args()
    out = options.out.absolute()
    work = WORKLOADS[options.points]
    folder = out / "runs" / f"upstream-{options.points}-{time.strftime('%H%M%S')}"
    folder.mkdir(parents=True)
    model = model_folder(work.preset, out)
    await_free_gpus()
    began = time.time()

    def report(state: str) -> None:
        row = {
            "name": f"upstream-{options.points}",
            "state": state,
            "tool_choice": options.tool_choice,
            "gpus": [gpu.name for gpu in detect().gpus],
            "commit": commit(),
            "date": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(began)),
            "seconds": round(time.time() - began, 1),
            **row_of(folder, began),
        }
        with (out / "results.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)

    def out_of_time() -> None:
        report("cut off")
        # Trinity's own end would wait for its actors; Ray's processes end with this one.
        os._exit(1)

    timer = threading.Timer(60 * options.minutes, out_of_time)
    timer.daemon = True
    timer.start()
    status = run(work, model, resolve_path(options.data), folder, options.tool_choice)
    timer.cancel()
    report("finished" if status.success else f"failed: {status.error}")
    return 0


def run(work: Workload, model: str, data: str, folder: Path, tool_choice: str) -> Any:
    """Trinity's own way from the YAML file to the end."""
    native = tree(work, model, data, folder, namespace=folder.name)
    path = folder / "trinity.yaml"
    path.write_text(yaml.safe_dump(native, sort_keys=False), encoding="utf-8")

    from rlagent.config.schema import HardwareConfig
    from rlagent.launch import ray_cluster

    # A Ray as `ray start --head` makes it, that ends with this process.
    ray_cluster.connect(
        HardwareConfig(ray="start"),
        namespace=folder.name,
        env={
            "RLAGENT_THREADS": "1",
            "PYTHONPATH": ray_cluster.python_path(),
            "TRINITY_LOG_DIR": str(folder / "logs"),
        },
        gpus=2,
        cpus=max(4, os.cpu_count() or 4),
    )
    from trinity.cli.launcher import run_stage
    from trinity.common.config import load_config

    from rlagent.workflows.gsm8k_react import react_agent

    config = load_config(str(path))
    config.check_and_update()
    function = react_agent
    if work.max_iters is not None:
        function = functools.partial(react_agent, max_iters=work.max_iters)
    if tool_choice == "free":
        function = functools.partial(freely, function=function)
    for taskset in config.buffer.explorer_input.tasksets:
        taskset.workflow_args["workflow_func"] = function
    return run_stage(config)


if __name__ == "__main__":
    sys.exit(main())
