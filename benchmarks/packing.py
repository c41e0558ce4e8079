"""How well the pool packs: N equal trials, k at once, against the time of ceil(N/k) trials.

    python benchmarks/packing.py --replay outputs/latest   12 trials that replay this run, 3 at once
    python benchmarks/packing.py outputs/sweep-...         equal trials of a sweep that has run

A replaying trial is a process that writes the rollouts and metrics of a recorded run, at its pace
but in a few seconds: it measures the pool's own gaps (noticing an end, planning, starting a
process, reading what trials write) and nothing of training. Timings say nothing about GPUs.
"""

import argparse
import dataclasses
import io
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rlagent.base.words import duration
from rlagent.config.compose import compose
from rlagent.config.resolve import resolve
from rlagent.machine.resources import detect
from rlagent.records.folder import RunFolder
from rlagent.records.sweep_store import Sweep, SweepFolder, TrialRow
from rlagent.sweep.grid import GridSource
from rlagent.sweep.live_table import PlainLines
from rlagent.sweep.options import Options
from rlagent.sweep.pool import run_sweep
from rlagent.sweep.shares import Resources
from rlagent.sweep.source import Need, Trial, row_of

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


def replay(source: Path, target: Path, seconds: float) -> None:
    """Write what a run wrote, its rollouts and metrics, at its pace but within `seconds`."""
    old, new = RunFolder(source), RunFolder(target)
    attempt = new.new_attempt().number
    new.write_status(state="running", pid=os.getpid(), attempt=attempt)
    rows = sorted(old.read_metrics(), key=lambda row: row["time"])
    rollouts = list(old.rollouts.read())
    first, last = rows[0]["time"], rows[-1]["time"]
    began = time.monotonic()
    for row in rows:
        due = began + seconds * (row["time"] - first) / (last - first)
        # The pace is what is replayed.
        time.sleep(max(0.0, due - time.monotonic()))
        if row["role"] == "explorer":
            for rollout in rollouts:
                if rollout["step"] == row["step"]:
                    new.rollouts.append(rollout)
        new.append_metrics(row["role"], row["step"], row["metrics"], attempt)
    steps = max(row["step"] for row in rows)
    new.write_status(state="finished", exit_code=0, cause="", steps_trained=steps, pid=None)


def replayed(source: Path, count: int, at_once: int, seconds: float) -> list[TrialRow]:
    """Run `count` replaying processes, `at_once` at the same time, through the pool."""
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

        def argv(trial: Trial) -> list[str]:
            target = Path(directory) / trial.folder_name
            words = ["--replay", str(source), "--into", str(target), "--seconds", str(seconds)]
            return [sys.executable, __file__, *words]

        options = Options(argv=argv, lookahead=count)
        sweep = Sweep("replayed", "0", [], trials=rows)
        resources = Resources((), at_once, 1e6)
        grid, silent = GridSource(trials), PlainLines(io.StringIO())
        assert run_sweep(folder, sweep, grid, resources, options, silent) == 0
        return sweep.trials


def main() -> int:
    """Measure; returns 1 when the bound is not met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sweep", nargs="?", help="folder of a sweep that has run")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--at-once", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--replay", type=Path, help="run folder with rollouts and metrics")
    parser.add_argument("--into", type=Path, help="folder that one replaying trial writes")
    asked = parser.parse_args()
    if bool(asked.sweep) == bool(asked.replay):
        parser.error("name either a sweep or, with --replay, a run")
    if asked.into:
        replay(asked.replay, asked.into, asked.seconds)
        return 0
    if asked.sweep:
        found = packing(SweepFolder(asked.sweep).read().trials)
        print(f"real trials: {found}")
    else:
        source = asked.replay.resolve()
        found = packing(replayed(source, asked.trials, asked.at_once, asked.seconds))
        print(f"replayed rollouts, {duration(asked.seconds)} each (no training): {found}")
    return 0 if found.ratio <= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
