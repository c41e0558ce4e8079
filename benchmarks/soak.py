"""Whether anything grows over a long run or many trials: memory, handles, threads, time, disk.

    python benchmarks/soak.py --minutes 60            one training of the tiny model on the CPU
    python benchmarks/soak.py --trials 100            a sweep of as many trials of one step each

Samples every process of the command, by role, and prints each figure's median in the second
quarter and in the last one: what is flat is equal in both. The first quarter is left out, since
caches fill in it.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from rlagent.records.folder import RunFolder

EVERY = 5.0
"""Seconds between two samples."""

COMMAND = (
    sys.executable, "-m", "rlagent.train", "+experiment=gsm8k_react", "hardware=cpu",
    "monitor=wandb", "monitor.mode=offline", "run.display=plain",
)  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """What a process of a role had at a time, the mean of several.

    Args:
        time: Seconds since the start.
        role: launcher (the command itself, where it is a sweep), driver, or the name of an actor
            or of a process of Ray.
        processes: How many there are.
        memory: MiB that no other process shares (USS), since Ray's processes share pages.
        handles: Open files and sockets.
        threads: Threads.
    """

    time: float
    role: str
    processes: int
    memory: float
    handles: float
    threads: float


def role_of(name: str, command: Sequence[str]) -> str:
    """The role of a process by its name and command line.

    >>> role_of("ray::TrainerActor.train", []), role_of("gcs_server", [])
    ('TrainerActor', 'gcs_server')
    """
    title = next((word for word in (name, *command[:1]) if word.startswith("ray::")), "")
    if title:
        return title.removeprefix("ray::").split(".")[0].split("(")[0]
    line = " ".join(command)
    if "rlagent.train" in line:
        return "driver"
    if "rlagent" in line:
        return next((part for part in command if part.startswith("rlagent")), "rlagent")
    return name


def look(root: psutil.Process, since: float, launches: bool) -> list[Sample]:
    """Sample a process and all below it; `launches`: it is a sweep's launcher."""
    found: dict[str, list[tuple[float, int, int]]] = defaultdict(list)
    for process in (root, *root.children(recursive=True)):
        try:
            with process.oneshot():
                role = role_of(process.name(), process.cmdline())
                if launches and process == root:
                    role = "launcher"
                figures = (
                    process.memory_full_info().uss / 2**20,
                    process.num_fds(),
                    process.num_threads(),
                )
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            # It ended between the two looks.
            continue
        found[role].append(figures)
    now = time.monotonic() - since
    return [
        Sample(now, role, len(own), *map(statistics.fmean, zip(*own, strict=True)))
        for role, own in found.items()
    ]


def quarters(pairs: Iterable[tuple[float, float]], end: float) -> tuple[float, float] | None:
    """Median of the values in the second quarter of [0, end] and in the last; None without both.

    >>> quarters([(1, 9.0), (3, 2.0), (7, 3.0)], 8)
    (2.0, 3.0)
    """
    pairs = list(pairs)
    early = [value for at, value in pairs if end / 4 <= at < end / 2]
    late = [value for at, value in pairs if at >= 3 * end / 4]
    if not early or not late:
        return None
    return statistics.median(early), statistics.median(late)


def table(samples: Sequence[Sample]) -> list[tuple[str, str, float, float]]:
    """Rows of role, figure, second quarter, last quarter, for the roles that live long enough."""
    end = max(sample.time for sample in samples)
    rows = []
    for role in dict.fromkeys(sample.role for sample in samples):
        own = [sample for sample in samples if sample.role == role]
        for figure in ("processes", "memory", "handles", "threads"):
            found = quarters(((s.time, float(getattr(s, figure))) for s in own), end)
            if found is not None:
                rows.append((role, figure, *found))
    return rows


def run_rows(folder: RunFolder, sizes: Sequence[tuple[float, float]], end: float) -> list:
    """Step time from the run's own metrics, and what the folder grew by per hour without
    checkpoints."""
    rows = []
    steps = [
        (row["time"], row["metrics"]["time/step"])
        for row in folder.read_metrics("driver")
        if "time/step" in row["metrics"]
    ]
    if steps:
        first, last = steps[0][0], steps[-1][0]
        found = quarters(((at - first, seconds) for at, seconds in steps), last - first)
        if found is not None:
            rows.append(("run", "seconds per step", *found))
    found = quarters(sizes, end)
    if found is not None:
        rows.append(("run", "folder without checkpoints, MiB", *found))
    return rows


def folder_size(folder: Path) -> float:
    """MiB of a folder without its checkpoints."""
    files = (file for file in folder.rglob("*") if "checkpoints" not in file.parts)
    total = 0
    for file in files:
        try:
            total += file.stat().st_size if file.is_file() else 0
        except FileNotFoundError:
            # A temporary file, renamed since.
            continue
    return total / 2**20


def main() -> int:
    """Run the command, sample it, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--minutes", type=float, help="one training, stopped after so long")
    kind.add_argument("--trials", type=int, help="a sweep of so many trials")
    parser.add_argument("--out", type=Path, help="a folder to keep; default: a temporary one")
    parser.add_argument("overrides", nargs="*", help="of rlagent.train")
    asked = parser.parse_args()
    out = asked.out or Path(tempfile.mkdtemp(prefix="soak-"))
    out.mkdir(parents=True, exist_ok=True)
    own = ["algorithm.total_steps=100000", "algorithm.save_interval=20", "dataset.eval_tasks=16"]
    if asked.trials:
        seeds = ",".join(str(seed) for seed in range(1, asked.trials + 1))
        own = ["-m", f"seed={seeds}", "algorithm.total_steps=1", "algorithm.batch_size=4",
               "algorithm.repeat_times=2", "dataset.eval_tasks=8"]  # fmt: skip
    command = [*COMMAND, *own, f"run.dir={out}/outputs", *asked.overrides]
    print(*command, flush=True)
    began = time.monotonic()
    samples: list[Sample] = []
    sizes: list[tuple[float, float]] = []
    with (out / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        root = psutil.Process(process.pid)
        while process.poll() is None:
            found = look(root, began, bool(asked.trials))
            samples += found
            sizes.append((time.monotonic() - began, folder_size(out / "outputs")))
            with (out / "samples.jsonl").open("a") as file:
                file.writelines(json.dumps(vars(sample)) + "\n" for sample in found)
            if asked.minutes and time.monotonic() - began > 60 * asked.minutes:
                process.terminate()
                process.wait()
                break
            time.sleep(EVERY)
    end = time.monotonic() - began
    rows = table(samples)
    if asked.minutes:
        folder = RunFolder((out / "outputs" / "latest").resolve())
        rows += run_rows(folder, sizes, end)
        print(
            "status:", folder.read_status().get("state"), folder.read_status().get("steps_trained")
        )
    print(f"{end / 60:.0f} min, exit status {process.returncode}, in {out}\n")
    print(
        "| role | figure | second quarter | last quarter | ratio |\n| --- | --- | --- | --- | --- |"
    )
    for role, figure, early, late in rows:
        ratio = f"{late / early:.3f}" if early else "-"
        print(f"| {role} | {figure} | {early:.4g} | {late:.4g} | {ratio} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
