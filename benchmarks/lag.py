"""What lag does to learning, with and without the off-policy correction, with the tiny model.

    python benchmarks/lag.py OUT                          # 5 arms x 3 seeds of 60 steps, then draws
    python benchmarks/lag.py OUT --seeds 1 --steps 3      # does it work?
    python benchmarks/lag.py OUT --draw                   # from OUT/lag.csv alone
    python benchmarks/lag.py OUT model=tiny --hardware 2gpu --jobs 4 --arms "lag 0" "lag 1, tis"

Trains one run after the other, or --jobs at once; what is finished is not trained again. Writes
OUT/lag.csv (a row per trained step), OUT/lag.md (a row per arm) and OUT/lag.png: success of the
training rollouts over trained tokens, the mean over the seeds with its 95 % interval (Student's t).
"""

import argparse
import csv
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from rlagent.records.folder import RunFolder

ARMS = {
    "lag 0": ("max_lag=0",),
    "lag 1, tis": ("max_lag=1", "off_policy=tis"),
    "lag 1, uncorrected": ("max_lag=1", "off_policy=none", "allow_uncorrected_lag=true"),
    "lag 4, tis": ("max_lag=4", "off_policy=tis"),
    "lag 4, uncorrected": ("max_lag=4", "off_policy=none", "allow_uncorrected_lag=true"),
}
"""Label of each arm, and the keys of `algorithm` that make it."""

COLUMNS = ("arm", "seed", "step", "tokens", "success", "lag", "ess", "kl", "before", "after")
"""Of lag.csv: tokens trained up to this step and success of its rollouts in [0, 1]; lag, ESS and KL
as docs/metrics.md defines them; success on the held-out tasks before and after the run."""

STUDENT = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}
"""95 % quantiles of t by the number of seeds."""

GRID = 60
"""Points of a curve."""

Row = dict[str, str]


def train(out: Path, arm: str, seed: int, steps: int, overrides: Sequence[str]) -> RunFolder:
    """Train one run to its end.

    Raises:
        subprocess.CalledProcessError: If it failed.
    """
    where = out / "runs" / f"{arm.replace(', ', '-').replace(' ', '')}-{seed}"
    command = [sys.executable, "-m", "rlagent.train", "+experiment=gsm8k_react"]
    command += ["monitor=local", "run.display=plain", f"run.dir={where}", f"seed={seed}"]
    command += [f"algorithm.total_steps={steps}", *(f"algorithm.{key}" for key in ARMS[arm])]
    print(f"{arm}, seed {seed}", flush=True)
    where.mkdir(parents=True, exist_ok=True)
    with (where / "output.txt").open("a") as log:
        subprocess.run([*command, *overrides], stdout=log, stderr=log, check=True)
    (folder,) = [each for each in where.iterdir() if each.is_dir() and not each.is_symlink()]
    return RunFolder(folder)


def rows_of(arm: str, seed: int, folder: RunFolder) -> Iterator[Row]:
    """What lag.csv keeps of a run."""
    status = folder.read_status()
    explored = {row["step"]: row["metrics"] for row in folder.read_metrics("explorer")}
    tokens = 0.0
    for row in folder.read_metrics("trainer"):
        metrics, step = row["metrics"], row["step"]
        success = explored.get(step, {}).get("rollout/success/mean")
        if success is None or "tokens/trained" not in metrics:
            continue
        tokens += metrics["tokens/trained"]
        values = {
            "tokens": tokens,
            "success": success,
            "lag": metrics.get("off_policy/lag/mean", 0.0),
            "ess": metrics.get("off_policy/ess", 1.0),
            "kl": metrics.get("off_policy/kl/behaviour_proximal", 0.0),
            "before": status["success_before"],
            "after": status["success_after"],
        }
        yield {"arm": arm, "seed": str(seed), "step": str(step)} | {
            name: f"{value:.6g}" for name, value in values.items()
        }


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half of its 95 % interval; 0 for a single value."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, 0.0
    factor = STUDENT.get(len(values), 1.96)
    return mean, factor * statistics.stdev(values) / len(values) ** 0.5


def by_seed(rows: Sequence[Row], arm: str) -> list[list[Row]]:
    """The rows of each run of an arm."""
    seeds = dict.fromkeys(row["seed"] for row in rows if row["arm"] == arm)
    return [[row for row in rows if row["arm"] == arm and row["seed"] == seed] for seed in seeds]


def column(run: Sequence[Row], name: str) -> list[float]:
    """A column of a run as numbers."""
    return [float(row[name]) for row in run]


def arms_of(rows: Sequence[Row]) -> list[str]:
    """The arms that have been trained, in the order of ARMS."""
    return [arm for arm in ARMS if by_seed(rows, arm)]


def at_equal_tokens(rows: Sequence[Row]) -> float:
    """Tokens that every run has trained on."""
    return min(column(run, "tokens")[-1] for arm in ARMS for run in by_seed(rows, arm))


def late_success(run: Sequence[Row], tokens: float) -> float:
    """Mean success of the training rollouts over the last third of the first `tokens`."""
    curve = np.interp(
        np.linspace(2 / 3 * tokens, tokens, GRID), column(run, "tokens"), column(run, "success")
    )
    return float(curve.mean())


def table(rows: Sequence[Row]) -> str:
    """A row per arm in Markdown; the verdict says whose mean lies in the interval of lag 0."""
    tokens = at_equal_tokens(rows)
    base, half = interval([late_success(run, tokens) for run in by_seed(rows, "lag 0")])
    lines = [
        f"Training success over the last third of the first {tokens:,.0f} trained tokens, held-out "
        "success after the run (its own tokens), mean and 95 % interval over the seeds.",
        "",
        "| arm | seeds | training success | in the interval of lag 0 | held-out after | lag | ESS "
        "| KL |",
        "| :--- | ---: | ---: | :--- | ---: | ---: | ---: | ---: |",
    ]
    for arm in arms_of(rows):
        runs = by_seed(rows, arm)
        mean, own = interval([late_success(run, tokens) for run in runs])
        after, spread = interval([column(run, "after")[-1] for run in runs])
        last = [row for run in runs for row in run[len(run) // 2 :]]
        lag, ess, kl = (statistics.fmean(column(last, name)) for name in ("lag", "ess", "kl"))
        inside = "yes" if abs(mean - base) <= half else "no"
        lines.append(
            f"| {arm} | {len(runs)} | {100 * mean:.1f} ± {100 * own:.1f} | {inside} | "
            f"{100 * after:.1f} ± {100 * spread:.1f} | {lag:.1f} | {ess:.2f} | {kl:.1e} |"
        )
    return "\n".join(lines) + "\n"


def draw(rows: Sequence[Row], file: Path) -> None:
    """Success over trained tokens: a line per arm, with a band."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.5, 4.2), dpi=120)
    ends = np.linspace(0, at_equal_tokens(rows), GRID + 1)[1:]
    for arm in arms_of(rows):
        curves = [
            smooth(np.interp(ends, column(run, "tokens"), column(run, "success")))
            for run in by_seed(rows, arm)
        ]
        means, halves = np.array([interval(point) for point in zip(*curves, strict=True)]).T
        style = "--" if "uncorrected" in arm else "-"
        colour = f"C{(list(ARMS).index(arm) + 1) // 2}"
        axes.plot(ends / 1000, 100 * means, style, color=colour, label=arm)
        low, high = 100 * (means - halves), 100 * (means + halves)
        axes.fill_between(ends / 1000, low, high, color=colour, alpha=0.12, linewidth=0)
    axes.set(xlabel="trained tokens, thousands", ylabel="training success, %", ylim=(0, 100))
    axes.legend(frameon=False, loc="lower right", fontsize=8)
    figure.tight_layout()
    figure.savefig(file)


def smooth(values: np.ndarray, width: int = 5) -> np.ndarray:
    """The mean of each value and its neighbours."""
    kernel = np.ones(width)
    return np.convolve(values, kernel, "same") / np.convolve(np.ones_like(values), kernel, "same")


def main() -> None:
    """Train what is missing, write the table and the figure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--hardware", default="cpu", help="a preset")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--jobs", type=int, default=1, help="runs beside each other")
    parser.add_argument("--draw", action="store_true", help="train nothing")
    parser.add_argument("overrides", nargs="*", help="further overrides, such as dataset=...")
    asked, further = parser.parse_known_args()
    file = asked.out / "lag.csv"
    if asked.draw:
        rows = list(csv.DictReader(file.open(encoding="utf-8")))
    else:
        overrides = [f"hardware={asked.hardware}", *asked.overrides, *further]

        def rows_of_run(which: tuple[int, str]) -> list[Row]:
            seed, arm = which
            return list(rows_of(arm, seed, train(asked.out, arm, seed, asked.steps, overrides)))

        # Seed by seed, so that an early look compares all arms.
        which = [(seed, arm) for seed in asked.seeds for arm in asked.arms]
        with ThreadPoolExecutor(asked.jobs) as pool:
            rows = [row for each in pool.map(rows_of_run, which) for row in each]
        with file.open("w", encoding="utf-8", newline="") as opened:
            writer = csv.DictWriter(opened, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    text = table(rows)
    (asked.out / "lag.md").write_text(text)
    draw(rows, asked.out / "lag.png")
    print(text)


if __name__ == "__main__":
    main()
