"""A sweep whose launcher is killed: the same command goes on from there. Its trials take one GPU
each, and run beside each other where there are two."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rlagent.machine.resources import detect
from rlagent.records.folder import RunFolder
from rlagent.records.sweep_store import SweepFolder

STEPS = 4
SWEEP = [
    *("-m", "+experiment=gsm8k_react", "model=tiny", "monitor=local", "seed=1,2"),
    *("hardware.enforce_eager=true", "algorithm.batch_size=5", "algorithm.repeat_times=3"),
    *("algorithm.save_interval=1", f"algorithm.total_steps={STEPS}", "dataset.eval_tasks=32"),
]


def _start(folder: Path, hardware: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "rlagent.train", *SWEEP, hardware, f"run.dir={folder}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _runs(folder: Path) -> list[RunFolder]:
    """The run folders of the sweep's trials, in their order; none before there is a sweep."""
    for path in folder.glob("sweep-*"):
        if (path / "sweep.json").is_file():
            sweep = SweepFolder(path)
            return [sweep.run_folder(row) for row in sweep.read().trials]
    return []


def _attempts(folder: Path) -> list[int]:
    """Of each trial how often it was started."""
    return [run.read_status().get("attempt", 0) for run in _runs(folder)]


def _trained(folder: Path) -> int:
    """Steps that the first trial has trained."""
    return sum(int(run.read_status().get("steps_trained") or 0) for run in _runs(folder)[:1])


@pytest.mark.parametrize("gpus", [1])
def test_a_killed_launchers_trial_is_ended_and_resumed_by_the_same_command(tmp_path, gpus):
    hardware = f"hardware={gpus}gpu"
    first = _start(tmp_path, hardware)
    beside = max(1, min(2, len(detect().gpus)))
    begun = [1] * beside + [0] * (2 - beside)
    while not _trained(tmp_path) or _attempts(tmp_path) != begun:
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.2)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    # At once: what the trial's processes still hold is waited for.
    again = _start(tmp_path, hardware)
    output, _ = again.communicate(timeout=500)
    assert again.returncode == 0, output
    for run, attempts in zip(_runs(tmp_path), begun, strict=True):
        status = run.read_status()
        assert (status["state"], status["steps_trained"]) == ("finished", STEPS)
        assert status["attempt"] == attempts + 1
        rows = run.read_metrics("trainer")
        steps = {row["step"] for row in rows if "actor/pg_loss" in row["metrics"]}
        assert steps == set(range(1, STEPS + 1))
