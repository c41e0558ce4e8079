"""A whole step of the ReAct experiment against its generation plus its training.

The rest of a step is agent code, HTTP, Ray and Trinity. A real run is made, and each step is
measured against its own parts: the seconds between two trained steps, the engine's seconds in
forward passes, the trainer's seconds in its step. The median of the ratios is reported, with the
parts, the processor seconds of each process, and the seconds from the command to the first step.
The ratio moves when others use the machine; processor seconds hardly do.

    python benchmarks/step.py
    python benchmarks/step.py --steps 30 algorithm.batch_size=8
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from rlagent.records.folder import RunFolder

WARM_UP = 3
"""Steps that are left out: caches fill, imports happen late."""


class ProcessorTimes:
    """Samples the processor seconds of this process's descendants, twice a second."""

    def __init__(self) -> None:
        self.samples: list[tuple[float, dict[int, float]]] = []
        self.names: dict[int, str] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "ProcessorTimes":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join()

    def between(self, start: float, end: float) -> dict[str, float]:
        """Seconds used by each kind of process between two times; those under 0.1 s left out."""
        inside = [seconds for at, seconds in self.samples if start <= at <= end]
        used: dict[str, float] = {}
        for pid in inside[-1]:
            seconds = inside[-1][pid] - inside[0].get(pid, 0.0)
            used[self.names[pid]] = used.get(self.names[pid], 0.0) + seconds
        return {name: seconds for name, seconds in used.items() if seconds >= 0.1}

    def _sample(self) -> None:
        while not self._ended.wait(0.5):
            self.samples.append((time.time(), self._now()))

    def _now(self) -> dict[int, float]:
        parents, seconds = {}, {}
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            try:
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                command = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            pid = int(entry)
            parents[pid] = int(fields[1])
            seconds[pid] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            self._name(pid, [part.decode(errors="replace") for part in command])
        return {pid: value for pid, value in seconds.items() if self._ours(pid, parents)}

    def _name(self, pid: int, command: list[str]) -> None:
        title = command[0]
        if title.startswith("ray::"):
            # `ray::AgentTrainer.train` while it works, `ray::IDLE` before it has a class.
            name = title[5:].split(".")[0].split("(")[0]
            if name != "IDLE" or pid not in self.names:
                self.names[pid] = name
        elif title:
            words = [Path(part).name for part in command if part and not part.startswith("-")]
            self.names[pid] = " ".join(words[:2])
        # A process that ends has no title any more.
        self.names.setdefault(pid, "?")

    def _ours(self, pid: int, parents: dict[int, int]) -> bool:
        while pid in parents:
            pid = parents[pid]
            if pid == os.getpid():
                return True
        return False


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
        with ProcessorTimes() as processors:
            folder = run(directory, arguments.steps, overrides)
        steps = parts(folder)
        driver = [row["metrics"] for row in folder.read_metrics("driver")]
        ends = {row["step"]: row["time"] for row in folder.read_metrics("trainer")}
    used = processors.between(ends[WARM_UP], ends[arguments.steps])
    medians = {name: statistics.median(step[name] for step in steps) for name in steps[0]}
    ratios = [step["whole"] / (step["generation"] + step["training"]) for step in steps]
    startup = next(row["time/startup"] for row in driver if "time/startup" in row)
    for name, seconds in medians.items():
        print(f"{name:<12}{seconds:8.2f} s")
    print("processor seconds per step:")
    for name, seconds in sorted(used.items(), key=lambda item: -item[1]):
        print(f"    {name:<36}{seconds / (arguments.steps - WARM_UP):8.3f}")
    print(f"whole / (generation + training)   {statistics.median(ratios):.2f}")
    print(f"command to ready for the first step   {startup:.1f} s")
    result = {**medians, "ratio": statistics.median(ratios), "startup": startup}
    print(json.dumps({name: round(value, 3) for name, value in result.items()}))


if __name__ == "__main__":
    main()
