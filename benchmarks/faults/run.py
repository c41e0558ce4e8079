"""One small training run in a process of its own, its roles, and what it left; no fault of it."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from rlagent.records.checkpoints import noted_step
from rlagent.records.files import DamagedError
from rlagent.records.folder import ENDED, RunFolder

REPOSITORY = Path(__file__).parents[2]

SMALLEST = (
    "+experiment=gsm8k_react",
    "hardware=cpu",
    "algorithm.batch_size=2",
    "algorithm.repeat_times=2",
    "algorithm.save_interval=1",
    "dataset.eval_tasks=8",
    "monitor=local",
    "run.display=plain",
)
"""Seconds per step; every part of a run is in it."""

ROLES = {
    "explorer": "ray::.*ExplorerActor",
    "trainer": "ray::.*TrainerActor",
    "engine": "ray::.*EmbeddedModel",
    "runner": "ray::.*RunnerActor",
    "synchronizer": "ray::.*Synchronizer",
    "queue": "ray::.*WholeStepQueue",
    "raylet": "/raylet/raylet ",
    "gcs": "/gcs_server ",
}
"""A pattern of the command line of each role."""

MARK = "RLAGENT_FAULTS"


class Training:
    """A run whose folder lies below `directory`, until it has ended and been swept up.

    Args:
        directory: Its own.
        overrides: Added to SMALLEST.
        patience: Seconds that anything waited for may take.
    """

    def __init__(self, directory: Path, *overrides: str, patience: float = 120.0) -> None:
        self.directory, self.patience = directory, patience
        self.overrides = overrides
        self.mark = uuid.uuid4().hex
        self.output = directory / "output.txt"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, stdout: int | None = None) -> None:
        """Start it; its output goes to a file, or to a descriptor, which is closed here."""
        self.directory.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "rlagent.train", *SMALLEST]
        command += [f"run.dir={self.directory}/outputs", *self.overrides]
        path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
        env = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", MARK: self.mark}
        with self.output.open("ab") as log:
            out = log.fileno() if stdout is None else stdout
            self.process = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env=env,
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                # Under nohup a run ignores it, as one is asked to.
                preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
            )
        if stdout is not None:
            os.close(stdout)

    def __enter__(self) -> "Training":
        return self

    def __exit__(self, *exc: object) -> None:
        for pid in self.living():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    @property
    def folder(self) -> RunFolder | None:
        """The run folder, once there is one."""
        root = self.directory / "outputs"
        found = [p for p in root.glob("*-*") if p.is_dir() and not p.is_symlink()]
        return RunFolder(found[0]) if found else None

    def status(self) -> dict[str, object]:
        """status.json; empty where there is none or it is damaged."""
        with contextlib.suppress(DamagedError):
            if self.folder is not None:
                return self.folder.read_status()
        return {}

    def saved(self) -> int:
        """The step of the newest checkpoint; 0 before the first."""
        return (noted_step(self.folder.checkpoints) or 0) if self.folder else 0

    def living(self) -> dict[int, str]:
        """Command lines of its processes by id, its own included."""
        found = {}
        for place in Path("/proc").iterdir():
            if place.name.isdigit():
                with contextlib.suppress(OSError):
                    line = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    inherited = (place / "environ").read_bytes().split(b"\0")
                    if line and f"{MARK}={self.mark}".encode() in inherited:
                        found[int(place.name)] = line.strip()
        return found

    def pid(self, role: str) -> int:
        """The process of a role; 0 while there is none."""
        assert self.process is not None
        if role == "driver":
            return self.process.pid
        return next((pid for pid, line in self.living().items() if re.search(ROLES[role], line)), 0)

    def until(self, what: Callable[[], object]) -> bool:
        """Wait for a condition; False when it did not come, or the run ended before."""
        deadline = time.monotonic() + self.patience
        while not what():
            if time.monotonic() > deadline or self.has_ended():
                return bool(what())
            time.sleep(0.1)
        return True

    def has_ended(self) -> bool:
        """Whether its process is gone."""
        assert self.process is not None
        return self.process.poll() is not None

    def end(self) -> float:
        """Wait for its end; returns the unix time of its final status, or of its end without one;
        0 when it has not ended in time."""
        if not self.until(lambda: False) and not self.has_ended():
            return 0.0
        status = self.status()
        return float(str(status["updated"])) if status.get("state") in ENDED else time.time()

    def left_over(self, seconds: float = 15.0) -> list[str]:
        """Names of processes that are still there some seconds after its end."""
        deadline = time.monotonic() + seconds
        while (found := self.living()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return [line.split()[0] for line in found.values()]
