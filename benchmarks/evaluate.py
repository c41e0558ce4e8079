"""How long `rlagent evaluate` takes, and its tokens per second against transformers' generate.

    python benchmarks/evaluate.py                 256 tasks of the tiny model, on a CPU
    python benchmarks/evaluate.py RUN evaluate.samples=4
    python benchmarks/evaluate.py --folder OUTPUTS --batch 64

The command is run as a user runs it, in a folder of its own unless one is named. Then transformers
generates what its rollouts did, with the same weights and threads: the first calls of all
rollouts, batch by batch, then their second ones, and so on; a batch has the prompt's length of its
longest, and ends with its longest response, as there is no other way. Tokens are those of the
responses. The evaluation's seconds hold agent code and tools, generate's do not. Both are measured
in one run; other work on the machine moves their ratio less than their seconds.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path

import torch
from generation import TINY, prompts, transformers_generate
from transformers import AutoModelForCausalLM

from rlagent.records.evaluations import EvaluationFolder

WANTED = 25.0
"""Seconds from the command to its result that 256 tasks may take on a CPU of two idle cores."""

Call = tuple[int, int]
"""Tokens of a prompt and of its response."""


def turns(rollouts: Iterable[dict]) -> Iterator[list[Call]]:
    """The first calls of all rollouts, then their second ones, and so on."""
    calls = (
        [(int(each["prompt_tokens"]), int(each["response_tokens"])) for each in row["calls"]]
        for row in rollouts
    )
    for turn in zip_longest(*calls):
        yield [call for call in turn if call is not None]


def generate_seconds(model: torch.nn.Module, turn: list[Call], batch: int) -> float:
    """Seconds that transformers takes for the calls of a turn."""
    spent = 0.0
    for first in range(0, len(turn), batch):
        calls = turn[first : first + batch]
        longest, new = (max(sizes) for sizes in zip(*calls, strict=True))
        # None shares its prompt with another: each task is asked once.
        ids = prompts(len(calls), 1, longest, model.config.vocab_size)
        spent += transformers_generate(model, ids, max(1, new))
    return spent


def evaluated(overrides: list[str], root: Path) -> tuple[float, EvaluationFolder]:
    """Seconds of the command, and where its results are."""
    line = [sys.executable, "-m", "rlagent.evaluate", *overrides, f"run.dir={root}"]
    repository = str(Path(__file__).resolve().parent.parent)
    began = time.perf_counter()
    done = subprocess.run(
        line, env={**os.environ, "PYTHONPATH": repository}, stdout=subprocess.PIPE, text=True
    )
    took = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(done.stdout)
    results = max(root.rglob("results.json"), key=lambda file: file.stat().st_mtime)
    return took, EvaluationFolder(results.parent)


def main() -> int:
    """Measure and print, or print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("overrides", nargs="*", help="of the command; a run may be the first")
    parser.add_argument("--model", default=str(TINY), help="for generate: folder or hub id")
    parser.add_argument("--folder", type=Path, help="run.dir; results that are there are kept")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--batch", type=int, default=128, help="rows of generate")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    own = ["+experiment=gsm8k_react", "hardware=cpu", "evaluate.tasks=256"]
    overrides = [*(asked.overrides or own), f"hardware.threads={asked.threads}"]
    torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory() as directory:
        root = asked.folder or Path(directory)
        command, folder = evaluated([*overrides, "evaluate.fresh=true"], root)
        measured = folder.measured()[-1]
        rows = folder.samples(measured["step"])
        start = folder.read_metrics("driver")[-1]["metrics"]
    tokens = sum(call["response_tokens"] for row in rows for call in row["calls"])
    load = AutoModelForCausalLM.from_pretrained
    model = load(asked.model, dtype=torch.float32).eval()
    calls = list(turns(rows))
    generate_seconds(model, calls[0][: asked.batch], asked.batch)
    theirs = sum(generate_seconds(model, turn, asked.batch) for turn in calls)
    found = {
        "rollouts": len(rows),
        "calls": sum(map(len, calls)),
        "tokens": tokens,
        "command_s": round(command, 1),
        "ready_s": round(start["time/startup"], 1),
        "rollouts_s": round(measured["seconds"], 1),
        "generate_s": round(theirs, 1),
        "evaluate_tokens_per_s": round(tokens / measured["seconds"]),
        "generate_tokens_per_s": round(tokens / theirs),
        "ratio": round(theirs / measured["seconds"], 2),
    }
    if asked.json:
        print(json.dumps(found))
    else:
        print("\n".join(f"{name:22} {value:>8}" for name, value in found.items()))
        print(
            f"asked: command_s at most {WANTED:.0f} for 256 tasks of one rollout, on two idle cores"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
