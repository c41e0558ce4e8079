"""A run that was cut off continues where its last checkpoint is, and reaches the asked step."""

import contextlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from rlagent.records.folder import RunFolder
from rlagent.trinity.rewind import checkpoint_step
from tests.cpu.runs import REPOSITORY, command, environment, only_folder, ray_processes, run

pytestmark = pytest.mark.alone

STEPS = ("algorithm.total_steps=4", "algorithm.save_interval=1")
PATIENCE = 240.0
"""Seconds after which a condition that never comes fails the test."""


def _start(directory: Path, *overrides: str) -> subprocess.Popen:
    (directory / "outputs").mkdir(parents=True, exist_ok=True)
    log = (directory / "output.txt").open("w")
    return subprocess.Popen(
        command(directory, *STEPS, *overrides),
        cwd=REPOSITORY,
        env=environment(),
        stdout=log,
        stderr=subprocess.STDOUT,
    )


def _until_step(process: subprocess.Popen, directory: Path, step: int) -> RunFolder:
    """Wait until a checkpoint of that step is on disk."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert process.poll() is None, (directory / "output.txt").read_text()
        with contextlib.suppress(AssertionError):
            folder = only_folder(directory)
            if checkpoint_step(folder.checkpoints) >= step:
                return folder
        time.sleep(0.2)
    raise AssertionError(f"no checkpoint of step {step} in {PATIENCE:g} s")


def _pid_of(name: str) -> int:
    """The process of a Ray actor, by its title."""
    found = [pid for pid, line in ray_processes().items() if name in line]
    assert len(found) == 1, f"{name}: {found}"
    return found[0]


def _assert_resumes(directory: Path) -> None:
    result = run(directory, *STEPS)
    assert result.returncode == 0, result.output
    assert "resuming from the checkpoint of step" in result.output
    assert result.status["steps_trained"] == 4
    assert result.status["attempt"] == 2
    assert sorted(result.series("sample/lag", "trainer")) == [1, 2, 3, 4]
    assert set(result.series("sample/lag", "trainer").values()) == {0.0}
    assert sorted(result.series("rollout/reward/mean", "explorer")) == [1, 2, 3, 4]


@pytest.mark.slow
@pytest.mark.parametrize("actor", ["ray::TrainerActor"])
def test_a_killed_actor_fails_the_run_and_the_same_command_resumes_it(tmp_path, actor):
    process = _start(tmp_path)
    folder = _until_step(process, tmp_path, 2)
    os.kill(_pid_of(actor), signal.SIGKILL)
    assert process.wait(60) == 1
    status = folder.read_status()
    assert status["state"] == "failed"
    assert "process died" in status["cause"]
    assert not ray_processes()
    _assert_resumes(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("actor", "number"),
    [
        ("ray::ExplorerActor", signal.SIGKILL),
        ("ray::EmbeddedModel", signal.SIGKILL),
        ("ray::WholeStepQueue", signal.SIGKILL),
        ("ray::WholeStepQueue", signal.SIGTERM),
        ("ray::Synchronizer", signal.SIGKILL),
    ],
)
def test_any_killed_actor_fails_the_run_within_a_minute(tmp_path, actor, number):
    process = _start(tmp_path, "algorithm.total_steps=50")
    folder = _until_step(process, tmp_path, 1)
    os.kill(_pid_of(actor), number)
    assert process.wait(60) == 1
    assert folder.read_status()["state"] == "failed"
    assert folder.read_status()["cause"]
    assert not ray_processes()


@pytest.mark.slow
def test_a_killed_runner_is_replaced_and_costs_no_rollout(tmp_path):
    process = _start(tmp_path)
    folder = _until_step(process, tmp_path, 1)
    killed = _pid_of("ray::RunnerActor")
    os.kill(killed, signal.SIGKILL)
    assert process.wait(PATIENCE) == 0
    rows = [row["metrics"] for row in folder.read_metrics("explorer")]
    assert {row.get("rollout/failed_share", 0) for row in rows} == {0}
    assert folder.read_status()["steps_trained"] == 4
    assert not ray_processes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "state"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 1, "stopped")],
)
def test_a_signal_saves_and_ends_the_run_and_the_same_command_resumes_it(
    tmp_path, number, code, state
):
    process = _start(tmp_path)
    folder = _until_step(process, tmp_path, 1)
    process.send_signal(number)
    assert process.wait(60) == code
    assert folder.read_status()["state"] == state
    assert not ray_processes()
    # The step under way was finished and saved, not only those at the interval.
    trained = max(row["step"] for row in folder.read_metrics("trainer"))
    assert checkpoint_step(folder.checkpoints) == trained
    _assert_resumes(tmp_path)


@pytest.mark.slow
def test_a_killed_driver_leaves_nothing_running_and_the_same_command_resumes(tmp_path):
    process = _start(tmp_path)
    _until_step(process, tmp_path, 2)
    process.kill()
    process.wait(10)
    # Ray's own agents notice a dead parent by looking for it now and then.
    deadline = time.monotonic() + 150
    while ray_processes() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not ray_processes()
    _assert_resumes(tmp_path)


@pytest.mark.slow
def test_a_finished_run_says_so_and_trains_on_when_asked_for_more_steps(tmp_path):
    first = run(tmp_path, "algorithm.total_steps=1")
    assert first.returncode == 0, first.output
    again = run(tmp_path, "algorithm.total_steps=1")
    assert again.returncode == 0
    assert re.search(r"done on .*success .* -> .*run\.fresh=true", again.output)
    assert again.status["attempt"] == 1
    more = run(tmp_path, "algorithm.total_steps=2")
    assert more.returncode == 0, more.output
    assert more.status["steps_trained"] == 2
    assert more.status["attempt"] == 2
