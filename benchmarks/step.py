"""A whole step of the ReAct experiment against its generation plus its training.

The rest of a step is agent code, HTTP, Ray and Trinity. A real run is made, and each step is
measured against its own parts: the seconds between two trained steps, the engine's seconds in
forward passes, the trainer's seconds in its step. The median of the ratios is reported, with the
parts, and the seconds from the command to the first step.

    python benchmarks/step.py
    python benchmarks/step.py --steps 30 algorithm.batch_size=8
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rlagent.run.folder import RunFolder

WARM_UP = 3
"""Steps that are left out: caches fill, imports happen late."""


def run(directory: str, steps: int, overrides: list[str]) -> RunFolder:
    """Train in a folder of its own."""
    command = [sys.executable, "-m", "rlagent.train", "+experiment=gsm8k_react", "hardware=cpu"]
    command += ["monitor=local", f"run.dir={directory}", "dataset.eval_tasks=16"]
    subprocess.run([*command, f"algorithm.total_steps={steps}", *overrides], check=True)
    return RunFolder((Path(directory) / "latest").resolve())


def parts(folder: RunFolder) -> list[dict[str, float]]:
    """Seconds of each step, whole and by part, warm-up left out."""
    metrics: dict[int, dict[str, float]] = {}
    for row in folder.read_metrics():
        metrics.setdefault(row["step"], {}).update(row["metrics"])
    found = []
    for step, values in sorted(metrics.items()):
        if step > WARM_UP and "time/step" in values:
            found.append(
                {
                    "whole": values["time/step"],
                    "generation": values["time/generation"],
                    "training": values["time/train_step"],
                    "explore": values["time/explore_step"],
                    "rollout": values["rollout/time/run_execution/mean"],
                }
            )
    return found


def main() -> None:
    """Measure and print a table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20)
    arguments, overrides = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as directory:
        folder = run(directory, arguments.steps, overrides)
        steps = parts(folder)
        driver = [row["metrics"] for row in folder.read_metrics("driver")]
    medians = {name: statistics.median(step[name] for step in steps) for name in steps[0]}
    ratios = [step["whole"] / (step["generation"] + step["training"]) for step in steps]
    startup = next(row["time/startup"] for row in driver if "time/startup" in row)
    for name, seconds in medians.items():
        print(f"{name:<12}{seconds:8.2f} s")
    print(f"whole / (generation + training)   {statistics.median(ratios):.2f}")
    print(f"command to ready for the first step   {startup:.1f} s")
    result = {**medians, "ratio": statistics.median(ratios), "startup": startup}
    print(json.dumps({name: round(value, 3) for name, value in result.items()}))


if __name__ == "__main__":
    main()
