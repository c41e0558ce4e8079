"""Draws engines.png from engines.csv: the same command on three machines, one curve per run.

    python experiments/gsm8k_react/engines.py                         # draw again
    python experiments/gsm8k_react/engines.py LABEL RUN_FOLDER ...    # add runs, then draw

LABEL names the hardware. A row holds one training step of one run: the share of its rollouts that
succeeded; `held-out` rows hold success on the held-out tasks before and after.
"""

import csv
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from rlagent.records.folder import RunFolder

HERE = Path(__file__).parent
TABLE = HERE / "engines.csv"
COLOURS = {"CPU": "tab:blue", "2 x H100": "tab:orange", "1 x H100, colocated": "tab:green"}


def rows_of(label: str, folder: RunFolder) -> list[list[str]]:
    """What engines.csv keeps of a run: label, run, kind, step, share in [0, 1]."""
    rows = []
    for row in folder.read_metrics("explorer"):
        for kind, name in (("training", "rollout/success/mean"), ("held-out", "eval/success")):
            if name in row["metrics"]:
                share = f"{row['metrics'][name]:.4f}"
                rows.append([label, folder.name, kind, str(row["step"]), share])
    return rows


def draw(rows: list[list[str]]) -> None:
    """Write engines.png."""
    figure, axes = plt.subplots(figsize=(7, 4), dpi=120)
    named = set()
    for label, run in dict.fromkeys((row[0], row[1]) for row in rows):
        colour = COLOURS.get(label, "tab:gray")
        mine = [row for row in rows if row[:2] == [label, run]]
        for kind in ("training", "held-out"):
            points = [(int(row[3]), 100 * float(row[4])) for row in mine if row[2] == kind]
            steps, shares = zip(*points, strict=True)
            if kind == "training":
                name = None if label in named else label
                axes.plot(steps, shares, color=colour, alpha=0.7, linewidth=1, label=name)
            else:
                axes.plot(steps, shares, "o", color=colour, markersize=5)
        named.add(label)
    axes.set(xlabel="training step", ylabel="success, %", ylim=(0, 100))
    axes.set_title("One workflow, two engines (lines: training; dots: held-out tasks)", fontsize=10)
    axes.legend(frameon=False, loc="lower right")
    figure.tight_layout()
    figure.savefig(HERE / "engines.png")


def main() -> None:
    """Add the runs that are named, and draw."""
    rows = list(csv.reader(TABLE.open(encoding="utf-8"))) if TABLE.is_file() else []
    if len(sys.argv) > 2:
        for folder in sys.argv[2:]:
            rows += rows_of(sys.argv[1], RunFolder(Path(folder).resolve()))
        with TABLE.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
    draw(rows)


if __name__ == "__main__":
    main()
