"""What `rlagent init` wrote runs its own test and trains, by the commands that it printed."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from rlagent import init
from tests.cpu.runs import environment, only_folder


def call(line: str, folder: Path, *more: str) -> str:
    done = subprocess.run(
        [sys.executable, *shlex.split(line)[1:], *more],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(init.KINDS))
def test_a_new_folder_is_tested_and_trains(kind, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert init.main(["mine", "--kind", kind]) == 0
    tested, trained = re.findall(r"^  (python .+)$", capsys.readouterr().out, re.M)
    assert " passed" in call(tested, tmp_path / "mine")
    call(trained, tmp_path / "mine", "hardware=cpu", "algorithm.total_steps=2")
    folder = only_folder(tmp_path / "mine")
    assert folder.read_status()["state"] == "finished"
    rewards = [
        row["metrics"]["rollout/reward/mean"]
        for row in folder.read_metrics("explorer")
        if "rollout/reward/mean" in row["metrics"]
    ]
    assert rewards
    # What the tiny model knows.
    assert kind != "agent" or max(rewards) > 0
