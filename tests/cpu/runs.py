"""Runs the real command in a process of its own, as a user does, and reads what it left."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlagent.records.folder import RunFolder

REPOSITORY = Path(__file__).parents[2]
AGENTS = Path(__file__).parent / "agents"

MARK = f"RLAGENT_TESTS={os.getpid()}"
"""In the environment of every process that these tests start."""

SMALL = (
    "+experiment=gsm8k_react",
    "hardware=cpu",
    "algorithm.batch_size=4",
    "algorithm.repeat_times=4",
    "dataset.eval_tasks=16",
    "run.display=plain",
)
"""A run of seconds per step: every part is real, only few tasks are asked."""


@dataclass(frozen=True)
class Run:
    """An ended command."""

    returncode: int
    output: str
    folder: RunFolder

    @property
    def status(self) -> dict[str, Any]:
        """status.json."""
        return self.folder.read_status()

    def series(self, name: str, role: str) -> dict[int, float]:
        """A metric by step."""
        rows = self.folder.read_metrics(role)
        return {row["step"]: row["metrics"][name] for row in rows if name in row["metrics"]}


def command(directory: Path, *overrides: str) -> list[str]:
    """The command line of a small run whose folder lies below `directory`."""
    return [
        sys.executable,
        "-m",
        "rlagent.train",
        *SMALL,
        f"run.dir={directory}/outputs",
        *overrides,
    ]


def environment() -> dict[str, str]:
    """The environment of a command: the faulty agents of the tests can be imported, and rlagent is
    that of this checkout, also where another one is installed."""
    name, value = MARK.split("=")
    path = os.pathsep.join(map(str, (AGENTS, REPOSITORY)))
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", name: value}


def _ended(line: list[str], timeout: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        line,
        cwd=REPOSITORY,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def trained(directory: Path, *overrides: str, timeout: float = 1800) -> RunFolder:
    """The folder of a run below `directory` that ended well; nothing is smaller than it says."""
    line = [sys.executable, "-m", "rlagent.train", *overrides, f"run.dir={directory}/outputs"]
    done = _ended(line, timeout)
    assert done.returncode == 0, done.stdout + done.stderr
    return only_folder(directory)


def evaluations(folder: RunFolder) -> list[dict[str, float]]:
    """The metrics of a run's evaluations, from the first to the last."""
    rows = [row["metrics"] for row in folder.read_metrics("explorer")]
    return [metrics for metrics in rows if "eval/success" in metrics]


def training_success(folder: RunFolder) -> list[float]:
    """The share of each training step's rollouts that succeeded, in [0, 1]."""
    rows = (row["metrics"] for row in folder.read_metrics("explorer"))
    return [row["rollout/success/mean"] for row in rows if "rollout/success/mean" in row]


def run(directory: Path, *overrides: str, timeout: float = 400) -> Run:
    """Run a small training to its end."""
    done = _ended(command(directory, *overrides), timeout)
    return Run(done.returncode, done.stdout + done.stderr, only_folder(directory))


def only_folder(directory: Path) -> RunFolder:
    """The one run folder below `directory`."""
    folders = [p for p in (directory / "outputs").iterdir() if not p.is_symlink() and p.is_dir()]
    assert len(folders) == 1, folders
    return RunFolder(folders[0])


def ray_processes() -> dict[int, str]:
    """Command lines of the Ray processes of these tests by process id.

    Told by an inherited variable from those of other runs on this machine.
    """
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                inherited = (folder / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            is_ray = "ray::" in line or "raylet" in line or "gcs_server" in line
            if is_ray and MARK.encode() in inherited:
                found[int(folder.name)] = line
    return found
