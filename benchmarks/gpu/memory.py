"""Memory of trainer and rollout engines at many points of model and layout, one step each.

No runs: the trainer's worker and the engines are started by themselves, with random weights, in
processes that import while others measure. Every row is written as soon as it is measured; a
second call measures what has no row. Needs 2 GPUs; `--device cpu` tries the trainer's part with
tiny shapes on a machine without one.

    python benchmarks/gpu/memory.py --out /tmp/memory --minutes 5.5
"""

import argparse
import dataclasses
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from machine import FREE_GIB, commit, used_gib
from measured import of_vllm_text

from rlagent.base.model_shape import ModelShape
from rlagent.config.presets import model_preset
from rlagent.machine.resources import detect
from rlagent.planner.layout import Layout
from rlagent.planner.memory import takes_gib, trainer_memory
from rlagent.planner.workload import Workload

HERE = Path(__file__).parent
MARK = "@@"
"""Begins a line of a measuring process that is meant for this one (see `say`)."""
PLAIN = "expandable_segments:False"
TINY = ModelShape(
    layers=2, hidden=64, intermediate=128, heads=4, kv_heads=2, head_dim=16, vocab=1024, tied=True
)


@dataclass
class Point:
    """One thing to measure.

    Args:
        name: Unique; a point with a result is not measured again.
        role: trainer or rollout.
        model: A preset, whose shape gets random weights.
        layout: Of which only the role's part is started.
        seconds: Most time it may take, imports left out.
        max_model_len: Longest sequence, tokens.
        max_response_tokens: Longest response, tokens.
        rollouts: Rollouts per step; of an engine, sequences at once.
        micro_batches: Full micro-batches of an update on each GPU.
        offload: Whether the trainer's state waits in host memory.
        allocator: PYTORCH_CUDA_ALLOC_CONF; empty: not set.
        sites: Whether to list the largest allocations at the peak.
        graphs: Whether the engine captures CUDA graphs.
        utilization: Share of a GPU that the engine takes.
        overrides: Further overrides of the configuration.
    """

    name: str
    role: str
    model: str
    layout: str
    seconds: float = 60.0
    max_model_len: int = 4096
    max_response_tokens: int = 1024
    rollouts: int = 256
    micro_batches: int = 7
    offload: bool = False
    allocator: str = ""
    sites: bool = False
    graphs: bool = True
    utilization: float = 0.9
    overrides: list[str] = field(default_factory=list)

    @property
    def shape(self) -> ModelShape:
        return TINY if self.model == "tiny_shape" else model_preset(self.model).shape

    def work(self, tokens: int | None) -> Workload:
        """The step as the planner knows it."""
        return Workload(
            self.max_model_len,
            self.max_response_tokens,
            rollouts=self.rollouts,
            tokens_per_gpu=tokens,
            utilization=self.utilization if self.role == "rollout" else None,
            graphs=self.graphs,
        )

    def job(self) -> dict[str, Any]:
        """What the measuring process is given, and the row repeats."""
        lengths = {
            name: getattr(self, name)
            for name in ("max_model_len", "max_response_tokens", "rollouts")
        }
        return {
            **dataclasses.asdict(self),
            "shape": dataclasses.asdict(self.shape),
            "lengths": lengths,
        }


ONE, TWO = "1x1+1", "1x1+2"
LONG: dict[str, Any] = {"max_model_len": 24576, "micro_batches": 4}
PHASES: "list[Phase]" = [
    # In the order in which they are wanted: points by the GPUs that they have, the lists of a
    # phase at the same time.
    {
        (0,): [
            Point("trainer-0.6b-1", "trainer", "qwen3_0_6b", ONE, sites=True, seconds=90),
            Point("trainer-1.7b-1", "trainer", "qwen3_1_7b", ONE, seconds=75),
            Point("trainer-0.6b-1-plain", "trainer", "qwen3_0_6b", ONE, allocator=PLAIN),
        ],
        (1,): [
            Point("rollout-0.6b-1", "rollout", "qwen3_0_6b", ONE, seconds=120),
            Point("rollout-4b-1-eager", "rollout", "qwen3_4b", ONE, graphs=False),
        ],
    },
    {
        (0, 1): [
            Point("trainer-4b-2", "trainer", "qwen3_4b", TWO, seconds=100),
            Point("trainer-1.7b-2", "trainer", "qwen3_1_7b", TWO, seconds=75),
            Point("trainer-0.6b-2", "trainer", "qwen3_0_6b", TWO),
        ],
    },
    {
        (0,): [
            Point("trainer-0.6b-1-24k", "trainer", "qwen3_0_6b", ONE, **LONG),
            Point("trainer-4b-1", "trainer", "qwen3_4b", ONE, seconds=90),
            Point(
                "trainer-1.7b-1-offload", "trainer", "qwen3_1_7b", ONE, seconds=160, offload=True
            ),
        ],
        (1,): [
            Point("rollout-1.7b-1-eager", "rollout", "qwen3_1_7b", ONE, graphs=False),
            Point("rollout-4b-1", "rollout", "qwen3_4b", ONE, seconds=120),
        ],
    },
    {
        (0, 1): [
            Point(
                "rollout-4b-tp2-eager", "rollout", "qwen3_4b", "1x2+1", seconds=170, graphs=False
            ),
            # Few micro-batches: each adds its gradients up in host memory, ten seconds or more.
            Point(
                "trainer-8b-2-offload",
                "trainer",
                "qwen3_8b",
                TWO,
                seconds=300,
                micro_batches=2,
                offload=True,
            ),
        ],
    },
]
_SHORT = ["trinity.trainer.max_token_len_per_gpu=1024"]
_SMALL: dict[str, Any] = {
    "seconds": 200,
    "micro_batches": 2,
    "max_model_len": 256,
    "max_response_tokens": 64,
    "overrides": _SHORT,
}
ON_A_CPU = [
    Point("cpu-1", "trainer", "tiny_shape", ONE, **_SMALL),
    Point("cpu-1-again", "trainer", "tiny_shape", ONE, **_SMALL),
    Point("cpu-2", "trainer", "tiny_shape", TWO, **_SMALL),
]


Said = queue.Queue[dict[str, Any] | None]
Phase = dict[tuple[int, ...], list[Point]]


def say(row: dict[str, Any]) -> None:
    """Report to the starting process; whatever a library printed ends its line first."""
    print(f"\n{MARK}{json.dumps(row)}", flush=True)


class Child:
    """A measuring process; what it says to this one it puts into a queue, None when it ends."""

    def __init__(
        self, script: str, arguments: list[str], env: dict[str, str], log: Path, said: Said
    ) -> None:
        self.log, self._said = log, said
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, **env},
            # Its own group: an engine of two GPUs has processes of its own.
            start_new_session=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self.log.open("a", encoding="utf-8") as log:
            for line in self._process.stdout:
                if line.startswith(MARK):
                    self._said.put(json.loads(line[len(MARK) :]))
                else:
                    log.write(line)
                    log.flush()
        self._said.put(None)

    def tell(self, job: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            # It has ended, and has said so.
            return

    def end(self) -> None:
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self._process.wait()

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8") if self.log.is_file() else ""


class Group:
    """The processes that measure points of one kind together, started before they are needed."""

    def __init__(self, point: Point, gpus: tuple[int, ...], out: Path, device: str) -> None:
        self.gpus, self._out = gpus, out
        self._children: list[Child] = []
        self._said: Said = queue.Queue()
        self._ready = False
        logs = out / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        if point.role == "rollout":
            visible = {"CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus))}
            arguments = ["--out", str(out), "--gpus", *map(str, gpus)]
            log = logs / f"{point.name}.log"
            self._children.append(Child("memory_rollout.py", arguments, visible, log, self._said))
            return
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        for rank, gpu in enumerate(gpus):
            env = {
                "CUDA_VISIBLE_DEVICES": str(gpu) if device == "cuda" else "",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
            }
            if point.allocator:
                env["PYTORCH_CUDA_ALLOC_CONF"] = point.allocator
            arguments = ["--rank", str(rank), "--ranks", str(len(gpus)), "--gpu", str(gpu)]
            arguments += ["--out", str(out), "--device", device]
            log = logs / f"trainer-{port}-{rank}.log"
            self._children.append(Child("memory_trainer.py", arguments, env, log, self._said))

    def measure(self, point: Point, end: float) -> tuple[list[dict[str, Any]], bool]:
        """The point's rows, one per rank, and whether the group can go on."""
        rows: list[dict[str, Any]] = []
        alive = True
        try:
            if not self._ready:
                alive = all(self._hear(end) is not None for _ in self._children)
                self._ready = True
                await_free(self.gpus, end)
            for child in self._children:
                child.tell(point.job())
            limit = min(end, time.monotonic() + point.seconds)
            while alive and len(rows) < len(self._children):
                row = self._hear(limit)
                if row is None:
                    alive = False
                    rows.append({"state": "failed", "cause": self._last_words()})
                    break
                rows.append(row)
                # The others wait for a rank that failed in a collective.
                alive = row["state"] == "measured" or len(self._children) == 1
            if not rows:
                rows.append({"state": "failed", "cause": self._last_words()})
            alive = alive and all(row.get("left_gib", 0.0) <= FREE_GIB / 4 for row in rows)
        except queue.Empty:
            alive = False
            rows.append({"state": "cut off", "cause": f"no time left: {self._last_words()}"})
        if point.role == "rollout":
            rows[0]["vllm"] = of_vllm_text(self._children[0].text())
            alive = False
        if not alive:
            self.end()
        return rows, alive

    def _hear(self, end: float) -> dict[str, Any] | None:
        return self._said.get(timeout=max(0.1, end - time.monotonic()))

    def _last_words(self) -> str:
        return "; ".join(child.text().strip()[-300:] for child in self._children)

    def end(self) -> None:
        for child in self._children:
            child.end()


def await_free(gpus: tuple[int, ...], end: float) -> None:
    """Wait until the processes before have given their memory back, 20 seconds at most."""
    end = min(end, time.monotonic() + 20)
    while time.monotonic() < end:
        used = used_gib()
        if not used or max(used[gpu] for gpu in gpus) < FREE_GIB:
            return
        time.sleep(0.2)


class Bench:
    """The points that are left, and where their rows go."""

    def __init__(self, out: Path, minutes: float, device: str) -> None:
        self.out, self.device = out, device
        self.end = time.monotonic() + 60 * minutes
        self._results = out / "results.jsonl"
        self._lock = threading.Lock()
        self._commit = commit()
        self._gpus = detect().gpus

    def left(self, points: list[Point]) -> list[Point]:
        """The points without a result."""
        done = set()
        if self._results.is_file():
            for line in self._results.read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                if row["state"] in ("measured", "out of memory"):
                    done.add(row["name"])
        return [point for point in points if point.name not in done]

    def start_all(self, phase: Phase) -> dict[tuple[int, ...], dict[str, Group]]:
        """The groups of a phase, by their GPUs."""
        return {gpus: self.start(points, gpus) for gpus, points in phase.items()}

    def start(self, points: list[Point], gpus: tuple[int, ...]) -> dict[str, Group]:
        """A group for every kind of point, importing from now on."""
        groups: dict[str, Group] = {}
        for point in points:
            if self.kind(point) not in groups:
                groups[self.kind(point)] = Group(point, gpus, self.out, self.device)
        return groups

    @staticmethod
    def kind(point: Point) -> str:
        """Points of one kind are measured by the same processes."""
        trainer = f"trainer {point.layout} {point.allocator}"
        return point.name if point.role == "rollout" else trainer

    def go(self, points: list[Point], groups: dict[str, Group], gpus: tuple[int, ...]) -> None:
        """Measure points, one after another; a group whose last point it was ends."""
        for place, point in enumerate(points):
            kind = self.kind(point)
            if self.end - time.monotonic() < 15:
                print(f"no time left for {point.name}", flush=True)
                continue
            if kind not in groups:
                groups[kind] = Group(point, gpus, self.out, self.device)
            print(f"== {point.name}", flush=True)
            began = time.monotonic()
            rows, alive = groups[kind].measure(point, self.end)
            self.write(point, rows, time.monotonic() - began)
            if not alive:
                del groups[kind]
            elif kind not in map(self.kind, points[place + 1 :]):
                groups.pop(kind).end()
        for group in groups.values():
            group.end()
        groups.clear()

    def write(self, point: Point, rows: list[dict[str, Any]], seconds: float) -> None:
        """Write a point's row: the worst of its ranks, with what the others had beside it."""
        worst = next((row for row in rows if row["state"] != "measured"), None)
        first = worst or max(rows, key=lambda row: row.get("peak_gib") or 0.0)
        others = [
            {name: row.get(name) for name in ("rank", "state", "peak_gib", "nvml_gib", "phases")}
            for row in rows
            if row is not first
        ]
        layout = Layout.parse(point.layout)
        work = point.work(first.get("tokens_per_gpu"))
        gpu_gib = self._gpus[0].memory_gib if self._gpus else 0.0
        estimate: dict[str, Any]
        if point.role == "trainer":
            memory = trainer_memory(point.shape, layout, work, point.offload)
            estimate = {"estimate": round(memory.gib, 2), "parts": memory.parts}
        else:
            estimate = {"estimate": round(takes_gib(point.shape, layout, work, gpu_gib), 2)}
        row = {
            **point.job(),
            **first,
            **estimate,
            "name": point.name,
            "other_ranks": others,
            "gpu": self._gpus[0].name if self._gpus else None,
            "gpu_gib": gpu_gib,
            "commit": self._commit,
            "date": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()),
            "seconds_taken": round(seconds, 1),
        }
        with self._lock, self._results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        shown = ("name", "state", "peak_gib", "estimate", "seconds_taken", "cause")
        print({name: row.get(name) for name in shown}, flush=True)


def write_configs(points: list[Point], out: Path) -> None:
    """Write the models without weights, in a process of its own: torch is slow to import."""
    shapes = {point.model: dataclasses.asdict(point.shape) for point in points}
    code = (
        "import json, sys; from pathlib import Path; import random_model as r\n"
        "from rlagent.config.schema import ModelShape\n"
        "for name, shape in json.loads(sys.argv[1]).items():\n"
        "    r.make_config(ModelShape(**shape), Path(sys.argv[2]) / name)\n"
    )
    paths = f"{HERE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    subprocess.run(
        [sys.executable, "-c", code, json.dumps(shapes), str(out / "configs")],
        check=True,
        env={**os.environ, "PYTHONPATH": paths},
    )


def main() -> int:
    """Measure what is left of the points."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=5.5, help="for all points together")
    parser.add_argument("--only", nargs="*", help="names of points")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    options = parser.parse_args()
    out = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    bench = Bench(out, options.minutes, options.device)

    def wanted(points: list[Point]) -> list[Point]:
        named = [point for point in points if not options.only or point.name in options.only]
        return bench.left(named)

    if options.device == "cpu":
        points = wanted(ON_A_CPU)
        write_configs(points, out)
        for layout, gpus in ((ONE, (0,)), (TWO, (0, 1))):
            of_layout = [point for point in points if point.layout == layout]
            bench.go(of_layout, {}, gpus)
        return 0
    phases = [
        {gpus: left for gpus, points in phase.items() if (left := wanted(points))}
        for phase in PHASES
    ]
    phases = [phase for phase in phases if phase]
    # The first two import from the beginning, each further one while the one before measures.
    started = [bench.start_all(phase) for phase in phases[:2]]
    write_configs([point for phase in phases for points in phase.values() for point in points], out)
    for place, phase in enumerate(phases):
        if place + 1 >= len(started) and place + 1 < len(phases):
            started.append(bench.start_all(phases[place + 1]))
        threads = [
            threading.Thread(target=bench.go, args=(points, started[place][gpus], gpus))
            for gpus, points in phase.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return 0


if __name__ == "__main__":
    sys.exit(main())
