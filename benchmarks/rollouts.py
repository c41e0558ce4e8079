"""How fast a step's rollouts are found among many: its read against a read of all of them.

    python benchmarks/rollouts.py                 100,000 made-up rollouts, 128 a step

The bound is a ratio, which says something on any machine: reading one step may take no more than
its share of all rollouts, a start and a look at the folder aside.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rlagent.records.calls import Call, compact
from rlagent.records.files import write_atomically
from rlagent.records.folder import RunFolder
from rlagent.records.rollouts import Batch, Query, RolloutStore
from rlagent.records.rollouts.segment import pack

BOUND = 0.02
"""What a step's read may take, as a share of a read of all; it holds 1 in 782 rollouts."""

WORDS = ["the", "bus", "train", "apples", "costs", "dollars", "how", "many", "left", "total"]


def fabricate(store: RolloutStore, rollouts: int, per_step: int) -> int:
    """Write made-up rollouts of two turns and a tool; returns the number of steps."""
    chance = random.Random(7)
    system = {"role": "system", "content": "You solve maths problems with a calculator. " * 8}

    def said(length: int) -> str:
        return " ".join(chance.choice(WORDS) + str(chance.randrange(100)) for _ in range(length))

    store.path.mkdir(parents=True, exist_ok=True)
    steps = -(-rollouts // per_step)
    for step in range(1, steps + 1):
        rows: list[dict[str, Any]] = []
        for group in range(per_step // 8):
            task = {"question": said(30), "answer": str(chance.randrange(1000))}
            question = {"role": "user", "content": task["question"]}
            for run in range(8):
                arguments = {"name": "calculator", "arguments": f'{{"expression": "{said(3)}"}}'}
                asked = {"role": "assistant", "content": said(10),
                         "tool_calls": [{"id": "1", "function": arguments}]}  # fmt: skip
                result = {"role": "tool", "name": "calculator", "content": said(1)}
                answer = {"role": "assistant", "content": said(40)}
                sent = [system, question]
                calls = [
                    Call(sent, asked, "solver"),
                    Call([*sent, asked, result], answer, "solver"),
                ]
                solved = chance.random() < 0.6
                rows.append(
                    {"phase": "train", "step": step, "group": group, "run": run, "task": task,
                     "row": {"index": step * 16 + group, "hash": f"{step * 16 + group:016x}"},
                     "model_version": step - 1, "reward": float(solved), "success": solved,
                     "error": None if chance.random() < 0.99 else "TimeoutError: after 60 s",
                     "metrics": {"response_tokens": 80.0, "model_calls": 2.0},
                     "calls": compact(calls), "attempt": 1, "time": 1.8e9 + step}
                )  # fmt: skip
        write_atomically(store.segment_file(Batch(step, "train")), pack(rows), mode=0o600)
    return steps


def seconds(work: Callable[[], Any], times: int = 1) -> float:
    """Processor time of the fastest of some tries and of what it starts, in s: what else runs on
    the machine lengthens it least."""
    found = []
    for _ in range(times):
        began = _spent()
        work()
        found.append(_spent() - began)
    return min(found)


def _spent() -> float:
    return sum(os.times()[:4])


def main() -> int:
    """Measure; returns 1 when the bound is not met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rollouts", type=int, default=100_000)
    parser.add_argument("--per-step", type=int, default=128)
    parser.add_argument("--keep", type=Path, help="make them in this run folder, and keep it")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        folder = RunFolder(asked.keep or Path(directory) / "many-00000000")
        folder.write_status(state="finished")
        store = folder.rollouts
        began = time.perf_counter()
        steps = fabricate(store, asked.rollouts, asked.per_step)
        made = time.perf_counter() - began
        size = sum(store.sealed().values())
        middle = (steps // 2, steps // 2)

        def count(query: Query) -> int:
            return sum(1 for _ in store.read(query))

        every = seconds(lambda: count(Query()))
        step = seconds(lambda: count(Query(steps=middle)), 3)
        heads = seconds(lambda: sum(1 for _ in store.heads(Query(failed=True))))
        failed = seconds(lambda: count(Query(failed=True)))
        words = [
            sys.executable,
            "-m",
            "rlagent.rollouts",
            str(folder.path),
            "--step",
            str(middle[0]),
        ]
        command = seconds(lambda: subprocess.run(words, check=True, stdout=subprocess.DEVNULL), 3)
    many = asked.rollouts
    print(f"{many:,} rollouts of {steps} steps: {size / 2**20:.0f} MiB, made in {made:.0f} s")
    print(f"all rollouts    {every:7.3f} s")
    print(f"one step        {step:7.3f} s   {step / every:.4f} of all (bound {BOUND})")
    print(f"all heads       {heads:7.3f} s   {heads / every:.4f}")
    print(f"failed ones     {failed:7.3f} s   {failed / every:.4f}")
    print(f"the command     {command:7.3f} s   rlagent rollouts RUN --step N, with Python's start")
    return 0 if step <= BOUND * every else 1


if __name__ == "__main__":
    sys.exit(main())
