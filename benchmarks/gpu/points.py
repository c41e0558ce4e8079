"""Many measured points on GPUs in one go: Ray and the imports are started once.

Each point is a real run of `rlagent.train` with its own overrides. What it measured is written as
soon as it ends; a second call goes on where the first was cut off.

    python benchmarks/gpu/points.py --points benchmarks/gpu/first.yaml --out /tmp/points
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import measured
import yaml
from machine import Peaks, await_free_gpus, commit

from rlagent.config.command import parse_command
from rlagent.config.prepare import prepare
from rlagent.config.resolve import Resolved
from rlagent.config.schema import HardwareConfig
from rlagent.machine.resources import detect
from rlagent.planner.layout import Layout

COMMON = [
    "+experiment=gsm8k_react",
    "monitor=local",
    "run.display=plain",
    "run.fresh=true",
    "hardware.ray=auto",
]
GRACE = 90.0
"""Seconds that a point which is out of time may take to end."""


@dataclass
class Point:
    """One thing to measure.

    Args:
        name: Unique in the file; a point with a result is not measured again.
        overrides: As on the command line of rlagent.train.
        model: A preset whose shape gets random weights; None: the overrides say which model.
        minutes: Most time it may take.
        steps: Training steps.
    """

    name: str
    overrides: list[str] = field(default_factory=list)
    model: str | None = None
    minutes: float = 8.0
    steps: int = 1


def read_points(path: Path) -> list[Point]:
    """The points of a file: `common` overrides, and a list `points`."""
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    common = data.get("common", [])
    points = [Point(**item) for item in data["points"]]
    for point in points:
        point.overrides = [*common, *point.overrides]
    names = [point.name for point in points]
    assert len(set(names)) == len(names), f"names must be unique: {names}"
    return points


def done(results: Path) -> set[str]:
    """Names of the points that have a result."""
    if not results.is_file():
        return set()
    rows = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    return {row["name"] for row in rows if row["state"] != "cut off"}


def arguments_of(point: Point, out: Path) -> list[str]:
    """The point as arguments of rlagent.train."""
    arguments = [*COMMON, f"run.dir={out / 'runs' / point.name}"]
    arguments.append(f"algorithm.total_steps={point.steps}")
    if point.model:
        folder = out / "models" / point.model
        if not (folder / "config.json").is_file():
            make = Path(__file__).with_name("random_model.py")
            subprocess.run([sys.executable, str(make), point.model, str(folder)], check=True)
        arguments += [
            f"model={point.model}",
            f"model.path={folder}",
            "dataset=gsm8k_tiny",
            "model.reasoning_parser=null",
            "model.enable_thinking=null",
        ]
    return [*arguments, *point.overrides]


class OneRay:
    """The Ray of all points; a colocated point needs one that offers the GPU twice."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._offers: Layout | None = None
        self._visible = os.environ.get("CUDA_VISIBLE_DEVICES")

    def serve(self, resolved: Resolved) -> None:
        """Have a Ray that offers what the run needs."""
        from rlagent.launch import ray_cluster

        layout = resolved.layout
        offers = layout if layout.colocated else None
        gpus = 2 if layout.colocated else len(resolved.machine.gpus)
        import ray

        if ray.is_initialized():
            if offers == self._offers:
                self.sweep()
                return
            ray.shutdown()
            self._see_what_there_is()
        env = ray_cluster.colocated_env(layout, "vllm")
        ray_cluster.connect(
            HardwareConfig(ray="start"),
            namespace="points",
            env={
                "RLAGENT_THREADS": str(resolved.config.hardware.threads),
                "PYTHONPATH": ray_cluster.python_path(),
                "TRINITY_LOG_DIR": str(self._out / "logs"),
                **env,
            },
            gpus=gpus,
            cpus=max(4, resolved.machine.cores),
        )
        # Ray's workers have theirs; this process goes on seeing the GPU once.
        self._see_what_there_is()
        self._offers = offers

    def _see_what_there_is(self) -> None:
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        if self._visible is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = self._visible

    @staticmethod
    def sweep() -> None:
        """Free what the actors of the run before reserved: it is the driver that would."""
        import ray
        from ray.util.placement_group import PlacementGroup

        for identity, row in ray.util.placement_group_table().items():
            if row["state"] != "REMOVED":
                ray.util.remove_placement_group(
                    PlacementGroup(ray.PlacementGroupID(bytes.fromhex(identity)))
                )


def measure(point: Point, out: Path, one_ray: OneRay, seconds: float) -> dict[str, Any]:
    """Run one point and return its row."""
    from rlagent.launch.launch import launch

    arguments = arguments_of(point, out)
    command = parse_command(arguments)
    resolved = prepare(command.draft(), detect())
    one_ray.serve(resolved)
    await_free_gpus()
    began = time.time()
    # The launcher's own way to stop, twice in case that it hangs.
    timers = [
        threading.Timer(after, os.kill, (os.getpid(), signal.SIGINT))
        for after in (seconds, seconds + GRACE)
    ]
    for timer in timers:
        timer.start()
    try:
        with Peaks() as peaks:
            outcome = launch(resolved)
    finally:
        for timer in timers:
            timer.cancel()
    return {
        "name": point.name,
        "state": "cut off" if outcome.state == "interrupted" else outcome.state,
        "cause": outcome.cause,
        "arguments": arguments,
        "layout": str(resolved.layout),
        "model": resolved.config.model.name,
        "choices": resolved.choices,
        "gpus": [gpu.name for gpu in resolved.machine.gpus],
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(began)),
        "seconds": round(time.time() - began, 1),
        "peak_gib": peaks.gib(),
        **measured.of_run(outcome.folder),
        "vllm": measured.of_vllm_logs(began),
    }


def main() -> int:
    """Measure what is left of the points."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60.0, help="for all points together")
    parser.add_argument("--only", nargs="*", help="names of points")
    options = parser.parse_args()
    out = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    results = out / "results.jsonl"
    deadline = time.monotonic() + 60 * options.minutes
    one_ray = OneRay(out)
    skipped = done(results)
    for point in read_points(options.points):
        if point.name in skipped or (options.only and point.name not in options.only):
            continue
        left = deadline - time.monotonic()
        if left < 60:
            print(f"no time left for {point.name}", flush=True)
            continue
        print(f"== {point.name}", flush=True)
        try:
            row = measure(point, out, one_ray, min(60 * point.minutes, left))
        # One point that cannot be had must not cost the others.
        except Exception as error:
            traceback.print_exc()
            cause = f"{type(error).__name__}: {error}"
            row = {"name": point.name, "state": "failed", "cause": cause}
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
