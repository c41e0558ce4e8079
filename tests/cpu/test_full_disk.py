"""A full disk ends the run with its cause, and leaves the last whole checkpoint."""

import contextlib
import subprocess
from pathlib import Path

import pytest

from tests.cpu.runs import ray_processes, run


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, of a few MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small file system needs the right to mount one: {done.stderr.strip()}")
    yield folder
    with contextlib.suppress(subprocess.CalledProcessError):
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.slow
def test_a_full_disk_fails_the_run_and_more_room_resumes_it(small_disk: Path):
    steps = ("algorithm.total_steps=6", "algorithm.save_interval=1", "algorithm.keep_checkpoints=0")
    result = run(small_disk, *steps, "monitor=local")
    assert result.returncode == 1, result.output
    assert result.status["state"] == "failed"
    assert "No space left on device" in result.status["cause"]
    assert not ray_processes()
    trained = result.status["steps_trained"]
    assert 0 < trained < 6
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    again = run(small_disk, *steps, "monitor=local")
    assert again.returncode == 0, again.output
    assert again.status["steps_trained"] == 6
