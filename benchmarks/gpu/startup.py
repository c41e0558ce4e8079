"""From the command to the first step, as a user meets it: each run is a process of its own.

    BENCHMARK=startup benchmarks/gpu/run.sh default OUT [MINUTES] [STACK]

Several names with commas run one after the other. `startup` of a row is the timeline that each
run writes (rlagent.base.startup): seconds since the command at which each part was there. The
first run compiles for vLLM's cache, the ones after it find that there.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import measured
from machine import await_free_gpus, commit

from rlagent.machine.resources import detect

GRAPHS = "trinity.explorer.rollout_model.extra_engine_args"
VARIANTS: dict[str, list[str]] = {
    "default": [],
    "again": [],
    # CUDA graphs of the model as it is, nothing compiled.
    "quick": [
        f"{GRAPHS}.compilation_config.mode=0",
        f"{GRAPHS}.compilation_config.cudagraph_mode=FULL_DECODE_ONLY",
    ],
    "eager": ["hardware.enforce_eager=true"],
    # As Trinity starts vLLM: a process more.
    "mp": [f"{GRAPHS}.distributed_executor_backend=mp"],
}
COMMON = [
    "+experiment=gsm8k_react",
    "monitor=local",
    "run.display=plain",
    "run.fresh=true",
    "hardware=2gpu",
    "hardware.ray=start",
    "model=tiny",
    "dataset.eval_split=null",
    "algorithm.total_steps=2",
    "algorithm.save_interval=100",
]


def main() -> int:
    """Run the named variants and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", required=True, help=f"of {', '.join(VARIANTS)}")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=5.0, help="for each run")
    options = parser.parse_args()
    out = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    for name in options.points.split(","):
        await_free_gpus()
        folder = out / "runs" / f"startup-{name}-{time.strftime('%H%M%S')}"
        overrides = [*COMMON, f"run.dir={folder}", *VARIANTS[name]]
        began = time.time()
        command = [sys.executable, "-m", "rlagent.train", *overrides]
        # SIGTERM, the launcher's own way to stop, when it takes too long.
        ended = subprocess.run(["timeout", "-k", "60", str(60 * options.minutes), *command])
        row = {
            "name": f"startup-{name}",
            "state": "finished" if ended.returncode == 0 else f"exit {ended.returncode}",
            "arguments": overrides,
            "gpus": [gpu.name for gpu in detect().gpus],
            "commit": commit(),
            "date": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(began)),
            "seconds": round(time.time() - began, 1),
            **(measured.of_run((folder / "latest").resolve()) if folder.is_dir() else {}),
            "vllm": measured.of_vllm_logs(began, Path("/tmp/ray/session_latest/logs")),
        }
        with (out / "results.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
