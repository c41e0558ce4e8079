"""How long composing a configuration takes, beside verl's, in the same environment.

    python benchmarks/compose.py [--repeats 5]

Runs both commands alternately, prints the medians of wall-clock and CPU time and their ratio,
and exits 1 when ours takes 0.7 s or more, or a tenth of verl's or more.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

OURS = ["-m", "rlagent.train", "--cfg", "job", "+experiment=gsm8k_react"]
HELP = ["-m", "rlagent.train", "--help"]
VERL = ["-m", "verl.trainer.main_ppo", "--cfg", "job"]
LIMIT_SECONDS = 0.7
LIMIT_RATIO = 0.1
ROOT = Path(__file__).resolve().parent.parent


def measure(arguments: list[str], folder: str) -> tuple[float, float]:
    """Return the wall-clock and CPU seconds of one call; raises when it fails."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments],
        check=True,
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu


def main() -> int:
    """Measure and print; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="runs of each command")
    repeats = parser.parse_args().repeats
    commands = {"rlagent.train --cfg job": OURS, "rlagent.train --help": HELP, "verl": VERL}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as folder:
        for arguments in commands.values():
            measure(arguments, folder)  # Fills the page cache and writes the bytecode.
        for _ in range(repeats):
            for name, arguments in commands.items():
                times[name].append(measure(arguments, folder))
    medians = {
        name: tuple(statistics.median(column) for column in zip(*rows, strict=True))
        for name, rows in times.items()
    }
    ratios = [
        ours[0] / verl[0]
        for ours, verl in zip(times["rlagent.train --cfg job"], times["verl"], strict=True)
    ]
    ratio = statistics.median(ratios)
    print(f"medians of {repeats} runs, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for name, (wall, cpu) in medians.items():
        print(f"  {name:<24} {wall:6.2f} s wall  {cpu:6.2f} s CPU")
    print(f"  rlagent / verl, median of the pairs: {ratio:.3f} (limit {LIMIT_RATIO})")
    slowest = medians["rlagent.train --cfg job"][0]
    return 0 if slowest < LIMIT_SECONDS and ratio < LIMIT_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
