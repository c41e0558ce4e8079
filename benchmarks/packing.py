"""How well the pool packs: N equal trials, k at once, against the time of ceil(N/k) trials.

    python benchmarks/packing.py                      12 stand-in trials (see below), 3 at once
    python benchmarks/packing.py outputs/sweep-...    equal trials of a sweep that has run

The stand-ins are processes that only wait: they measure the pool's own gaps (noticing an end,
planning, starting a process) and nothing of training. Timings say nothing about GPUs.
"""

import argparse
import dataclasses
import io
import math
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rlagent.config.compose import compose
from rlagent.config.machine import detect
from rlagent.config.resolve import resolve
from rlagent.run.words import duration
from rlagent.sweep.display import PlainLines
from rlagent.sweep.grid import GridSource
from rlagent.sweep.options import Options
from rlagent.sweep.pool import run_sweep
from rlagent.sweep.shares import Resources
from rlagent.sweep.source import Need, Trial, row_of
from rlagent.sweep.store import Sweep, SweepFolder, TrialRow

BOUND = 1.15
"""What the pool may take, in units of ceil(N/k) median trials."""


@dataclasses.dataclass(frozen=True)
class Packing:
    """How N trials were packed.

    Args:
        trials: N.
        at_once: k, the most that ran at the same time.
        median_s: The median trial, s, measured while k ran.
        total_s: From the first start to the last end, s.
    """

    trials: int
    at_once: int
    median_s: float
    total_s: float

    @property
    def ratio(self) -> float:
        """Total over ceil(N/k) medians; 1 is perfect."""
        return self.total_s / (math.ceil(self.trials / self.at_once) * self.median_s)

    def __str__(self) -> str:
        return (
            f"{self.trials} trials, {self.at_once} at once, median {self.median_s:.2f} s, "
            f"all {self.total_s:.2f} s: {self.ratio:.3f} x ceil(N/k) x median (bound {BOUND})"
        )


def packing(rows: Sequence[TrialRow]) -> Packing:
    """Return how the trials of one launch were packed, from when they started and ended."""
    spans = [(row.started, row.ended) for row in rows if row.started and row.ended]
    at_once = max(sum(a <= start < b for a, b in spans) for start, _ in spans)
    median = statistics.median(end - start for start, end in spans)
    total = max(end for _, end in spans) - min(start for start, _ in spans)
    return Packing(len(spans), at_once, median, total)


def stand_ins(count: int, at_once: int, seconds: float) -> list[TrialRow]:
    """Run `count` processes that wait `seconds`, `at_once` at the same time, through the pool."""
    with tempfile.TemporaryDirectory() as directory:
        words = ["+experiment=gsm8k_react", "hardware=cpu", f"run.dir={directory}"]
        trials = []
        for number in range(count):
            config = compose([*words, f"seed={number}"])
            made = resolve(config, detect())
            trials.append(
                Trial(number, (), (f"seed={number}",), {"seed": number}, made, Need(cores=1))
            )
        folder = SweepFolder(Path(directory) / "sweep")
        rows = [row_of(trial, folder) for trial in trials]
        code = f"import time; time.sleep({seconds})"
        options = Options(argv=lambda _: [sys.executable, "-c", code], lookahead=count)
        sweep = Sweep("stand-ins", "0", [], trials=rows)
        resources = Resources((), at_once, 1e6)
        source, silent = GridSource(trials), PlainLines(io.StringIO())
        assert run_sweep(folder, sweep, source, resources, options, silent) == 0
        return sweep.trials


def main() -> int:
    """Measure; returns 1 when the bound is not met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sweep", nargs="?", help="folder of a sweep that has run")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--at-once", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    asked = parser.parse_args()
    if asked.sweep:
        found = packing(SweepFolder(asked.sweep).read().trials)
        print(f"real trials: {found}")
    else:
        found = packing(stand_ins(asked.trials, asked.at_once, asked.seconds))
        print(f"stand-in trials of {duration(asked.seconds)} (no training): {found}")
    return 0 if found.ratio <= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
