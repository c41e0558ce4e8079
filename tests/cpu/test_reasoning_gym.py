"""The experiment reasoning_gym learns: held-out success rises within a few steps on the CPU."""

import subprocess
import sys

import pytest

from tests.cpu.runs import REPOSITORY, environment, only_folder

pytest.importorskip("reasoning_gym")


@pytest.mark.slow
def test_held_out_success_rises(tmp_path):
    line = ["+experiment=reasoning_gym", "hardware=cpu", "algorithm.total_steps=15"]
    done = subprocess.run(
        [sys.executable, "-m", "rlagent.train", *line, f"run.dir={tmp_path}/outputs"],
        cwd=REPOSITORY,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=590,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    status = only_folder(tmp_path).read_status()
    assert status["success_after"] > status["success_before"] + 0.1
