"""How long the pages of `rlagent view` take with 200 runs, a sweep of 500 trials, 100,000 rollouts.

    python benchmarks/view.py [--folder FOLDER] [--repeats 5]

Makes up the folder (kept and used again where --folder names one), starts the command, and asks for
each page: the first look reads the files, later ones what has changed. Prints wall-clock and the
server's CPU seconds, and exits 1 when a page takes a second or more.
"""

import argparse
import contextlib
import http.cookiejar
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rlagent.records.folder import RunFolder
from rlagent.records.rollouts import Batch
from rlagent.records.rollouts.segment import pack
from rlagent.records.sweep_store import Sweep, SweepFolder, TrialRow

RUNS, STEPS, TRIALS, TRIAL_STEPS, ROLLOUTS, BATCH = 200, 200, 500, 60, 100_000, 128
LIMIT_SECONDS = 1.0
LONG = "gsm8k_react-ffffffff"
SWEEP = "sweep-gsm8k_react-0a1b2c3d"
SAID = "So the price is reduced by the coupon, which I check with the calculator again. "
ANSWER = {"role": "assistant", "content": SAID * 4}


def metrics(steps: int, seed: int, others: int) -> str:
    """metrics.jsonl of a run; `others` are metrics that no chart shows."""
    chance, lines = random.Random(seed), []
    filler = {f"actor/other_{index}": chance.random() for index in range(others)}
    seen = ("eval/success", "eval/success_low", "eval/success_high")
    for step in range(steps + 1):
        skill = 0.4 + 0.5 * (1 - math.exp(-step / 30)) + chance.gauss(0, 0.02)
        named: dict[str, dict[str, float]] = {"explorer": {}, "trainer": {}, "driver": {}}
        if step % 10 == 0:
            named["explorer"] = dict.fromkeys(seen, skill) | {"eval/tasks": 256.0}
        if step:
            named["explorer"] |= {"rollout/reward/mean": skill, "rollout/success/mean": skill,
                                  "time/rollout": 2.0, **filler}  # fmt: skip
            named["trainer"] = {"actor/ppo_kl": 1e-4, "actor/entropy": 0.3, "sample/lag": 0.0,
                                "time/train_step": 1.0, **filler}  # fmt: skip
            named["driver"] = {"time/step": 3.2, "tokens/per_second": chance.gauss(1500, 100)}
        lines += [
            json.dumps({"role": role, "step": step, "attempt": 1, "time": 0.0, "metrics": values})
            for role, values in named.items()
            if values
        ]
    return "\n".join(lines) + "\n"


def make_run(root: Path, name: str, text: str, steps: int) -> None:
    """A run that has finished."""
    run = RunFolder(root / name)
    run.new_attempt()
    run.metrics_jsonl.write_text(text)
    run.config_yaml.write_text("seed: 1\nhardware: {gpus: 0}\n")
    run.write_status(state="finished", steps_trained=steps, steps_asked=steps, layout="1x1+1",
                     model="tiny", dataset="gsm8k_tiny", started=time.time() - 900)  # fmt: skip


def make_sweep(root: Path) -> None:
    """A sweep over learning rate and seed."""
    texts = [metrics(TRIAL_STEPS, seed, 20) for seed in range(10)]
    folder, rows = SweepFolder(root / SWEEP), []
    for number in range(TRIALS):
        rate, seed = 10 ** random.Random(number // 2).uniform(-5, -3), number % 2 + 1
        name = f"gsm8k_react-{number:08x}"
        make_run(root, name, texts[number % 10], TRIAL_STEPS)
        row = TrialRow(
            number,
            [f"algorithm.lr={rate:.6g}", f"seed={seed}"],
            {"algorithm.lr": rate, "seed": seed},
            f"{number:08x}",
            f"../{name}",
            state="finished",
            exit_code=0,
            objective=0.5 + 0.0005 * (number % 97),
            layout="1x1+1",
        )
        rows.append(row)
    folder.write(Sweep(SWEEP, "0a1b2c3d", ["-m", "+experiment=gsm8k_react"], state="finished",
                       parameters=["algorithm.lr", "seed"], started=time.time() - 9000,
                       trials=rows))  # fmt: skip


def rollout(step: int, group: int, run: int) -> dict:
    """A training rollout of two calls, about as large as a real one of the small model."""
    question = f"Mina buys {group + 3} bags of apples at {step % 7 + 2} dollars each."
    call = {"agent": "react_agent", "conversation": 0, "prompt_tokens": 220, "finish": "stop",
            "response_tokens": 60, "response": ANSWER}  # fmt: skip
    opening = [{"role": "system", "content": "You solve maths problems. " * 8},
               {"role": "user", "content": question}]  # fmt: skip
    back = [{"role": "tool", "name": "calculator", "content": str(step * group)}]
    return {
        "phase": "train", "step": step, "attempt": 1, "group": group, "run": run,
        "row": {"index": (16 * step + group) % 4000, "hash": f"{(16 * step + group) % 4000:016x}"},
        "task": {"question": question, "answer": "42"}, "model_version": step - 1,
        "reward": float(run % 3 == 0), "success": run % 3 == 0, "error": None,
        "metrics": {"response_tokens": 120.0, "model_calls": 2.0}, "time": 0.0,
        "calls": [call | {"messages": opening},
                  call | {"messages": back, "after": 0, "keeps": 3}],
    }  # fmt: skip


def make_rollouts(root: Path) -> None:
    """A run with a file of rollouts per step."""
    steps = math.ceil(ROLLOUTS / BATCH)
    make_run(root, LONG, metrics(steps, 1, 20), steps)
    store = RunFolder(root / LONG).rollouts
    store.path.mkdir()
    for step in range(1, steps + 1):
        rows = [rollout(step, number // 8, number % 8) for number in range(BATCH)]
        store.segment_file(Batch(step, "train")).write_bytes(pack(rows))


def make(root: Path) -> None:
    """All of it, once."""
    if (root / LONG).exists():
        return
    root.mkdir(parents=True, exist_ok=True)
    for number in range(RUNS):
        text = metrics(STEPS, number, 30) if number < 10 else ""
        source = root / f"alone-{number % 10:08x}" / "metrics.jsonl"
        make_run(root, f"alone-{number:08x}", text or source.read_text(), STEPS)
    make_sweep(root)
    make_rollouts(root)


@contextlib.contextmanager
def served(root: Path) -> Iterator[tuple[urllib.request.OpenerDirector, str, psutil.Process]]:
    """The command, a browser that has its cookie, its address, its process."""
    command = [sys.executable, "-m", "rlagent.view", str(root)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as running:
        try:
            assert running.stdout is not None
            address = running.stdout.readline().split()[-1]
            jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
            browser = urllib.request.build_opener(jar)
            # Any page gives the cookie; this one reads nothing.
            browser.open(address.replace("/?", "/style.css?")).read()
            yield browser, address.partition("/?")[0], psutil.Process(running.pid)
        finally:
            running.terminate()


def pages() -> dict[str, str]:
    """What is looked at, and its path."""
    last = math.ceil(ROLLOUTS / BATCH)
    one = f"/run/{LONG}/rollout?phase=train&step={last}&group=3&run=1"
    picks = "&".join(f"pick={LONG}||train|{last}||3|{run}" for run in (1, 2))
    return {
        f"the list of {RUNS} runs and a sweep": "/",
        "the list with the trials": "/?trials=1",
        f"a run of {STEPS} steps": "/run/alone-00000001",
        f"a run of {last} steps": f"/run/{LONG}",
        f"a sweep of {TRIALS} trials": f"/sweep/{SWEEP}",
        f"the newest of {ROLLOUTS:,} rollouts": f"/run/{LONG}/rollouts",
        "those of one step": f"/run/{LONG}/rollouts?first=17&last=17",
        "those of one task": f"/run/{LONG}/rollouts?task=77",
        "those of a rare kind (none)": f"/run/{LONG}/rollouts?longer=5000",
        "those with a text (none)": f"/run/{LONG}/rollouts?text=nowhere",
        "one rollout": one,
        "two side by side": f"/sides?{picks}",
    }


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description="How long the pages of the view take.")
    parser.add_argument("--folder", type=Path, help="where to make it up, and keep it")
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    slow = []
    with contextlib.ExitStack() as stack:
        root = asked.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        make(root)
        browser, address, server = stack.enter_context(served(root))
        print(f"{'page':40} first look, s (CPU)   again, s (CPU)       KiB")
        for name, path in pages().items():
            walls, cpus, size = [], [], 0
            for _ in range(1 + asked.repeats):
                before, began = sum(server.cpu_times()[:2]), time.perf_counter()
                size = len(browser.open(address + path).read())
                walls.append(time.perf_counter() - began)
                cpus.append(sum(server.cpu_times()[:2]) - before)
            wall, cpu = statistics.median(walls[1:]), statistics.median(cpus[1:])
            print(f"{name:40} {walls[0]:10.3f} ({cpus[0]:5.2f}) {wall:11.3f} ({cpu:5.2f}) "
                  f"{size / 1024:9.0f}", flush=True)  # fmt: skip
            slow += [name] if max(walls[0], wall) >= LIMIT_SECONDS else []
    if slow:
        print(f"a second or more: {', '.join(slow)}", file=sys.stderr)
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
