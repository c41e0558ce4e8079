"""Draws the experiments' curves from curves.csv: success.png in each folder, and overview.png.

    python experiments/curves.py                    # draw again
    python experiments/curves.py RUN_FOLDER ...     # add finished runs, then draw

A line is the mean over seeds of the share of a step's rollouts that succeeded, over five steps, and
its band reaches from the worst seed to the best. Dots are held-out success before and after, one
per seed, with its 95 % interval.
"""

import csv
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from rlagent.base.words import counted
from rlagent.records.configuration import read_config
from rlagent.records.folder import RunFolder

HERE = Path(__file__).parent
TABLE = HERE / "curves.csv"
FOLDERS = {"endpoint_agent": "endpoint_agents"}
"""Where an experiment's folder has another name than its runs."""
WINDOW = 5


def rows_of(folder: RunFolder) -> list[list[str]]:
    """What curves.csv keeps of a run: experiment, seed, kind, step, share, low, high."""
    config = read_config(folder)
    run = [config.run.name, str(config.seed)]
    rows = []
    for row in folder.read_metrics("explorer"):
        found, step = row["metrics"], str(row["step"])
        if "rollout/success/mean" in found:
            rows.append([*run, "training", step, f"{found['rollout/success/mean']:.4f}", "", ""])
        if "eval/success" in found:
            shares = [found[f"eval/success{end}"] for end in ("", "_low", "_high")]
            rows.append([*run, "held-out", step, *(f"{share:.4f}" for share in shares)])
    return rows


def draw_one(axes: Any, name: str, rows: list[list[str]]) -> None:
    """One experiment's curve."""
    seeds = defaultdict(list)
    for _, seed, kind, _, share, *_ in rows:
        if kind == "training":
            seeds[seed].append(100 * float(share))
    steps = min(map(len, seeds.values()))
    mean = np.ones(WINDOW) / WINDOW
    lines = np.array([np.convolve(each[:steps], mean, "valid") for each in seeds.values()])
    middle = np.arange(lines.shape[1]) + (WINDOW + 1) / 2
    axes.fill_between(middle, lines.min(0), lines.max(0), alpha=0.25, linewidth=0)
    axes.plot(middle, lines.mean(0), linewidth=1.5)
    for number, seed in enumerate(sorted(seeds)):
        held = [row for row in rows if row[1] == seed and row[2] == "held-out"]
        # Side by side, so that none hides another.
        at = [int(row[3]) + (number - 1) * steps / 60 for row in held]
        share, low, high = (
            100 * np.array([float(row[place]) for row in held]) for place in (4, 5, 6)
        )
        axes.errorbar(
            at, share, [share - low, high - share], fmt="o", color="tab:orange", markersize=4
        )
    axes.set_title(f"{name}, {counted(len(seeds), 'seed')}", fontsize=10)
    axes.set(xlabel="training step", ylabel="success, %", ylim=(0, 100))


def draw(rows: list[list[str]]) -> None:
    """Write the pictures."""
    experiments = defaultdict(list)
    for row in rows:
        experiments[row[0]].append(row)
    for name, mine in experiments.items():
        figure, axes = plt.subplots(figsize=(5, 3), dpi=110)
        draw_one(axes, name, mine)
        figure.tight_layout()
        figure.savefig(HERE / FOLDERS.get(name, name) / "success.png")
        plt.close(figure)
    figure, grid = plt.subplots(2, 4, figsize=(13, 5.6), dpi=100, squeeze=False)
    for axes in grid.flat[len(experiments) :]:
        axes.set_axis_off()
    for axes, (name, mine) in zip(grid.flat, sorted(experiments.items()), strict=False):
        draw_one(axes, name, mine)
    figure.tight_layout()
    figure.savefig(HERE / "overview.png")


def main() -> None:
    """Add the runs that are named, and draw."""
    rows = list(csv.reader(TABLE.open(encoding="utf-8"))) if TABLE.is_file() else []
    if sys.argv[1:]:
        for folder in sys.argv[1:]:
            rows += rows_of(RunFolder(Path(folder).resolve()))
        with TABLE.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
    draw(rows)


if __name__ == "__main__":
    main()
