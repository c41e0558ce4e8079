"""A guesser and a chooser of one model both learn from rewards of their own."""

import subprocess
import sys

import pytest

from rlagent.records.folder import RunFolder
from tests.cpu.runs import REPOSITORY, environment, only_folder

pytestmark = pytest.mark.slow


def test_success_and_the_rewards_of_both_roles_rise(tmp_path):
    words = ["+experiment=two_roles", "hardware=cpu", f"run.dir={tmp_path}/outputs"]
    done = subprocess.run(
        [sys.executable, "-m", "rlagent.train", *words, "algorithm.total_steps=40"],
        cwd=REPOSITORY,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    folder: RunFolder = only_folder(tmp_path)
    rows = [row["metrics"] for row in folder.read_metrics("explorer")]
    first = next(metrics for metrics in rows if "eval/success" in metrics)
    assert 0.2 <= first["eval/success"] <= 0.6
    # Ten steps at each end, 1280 rollouts: of those held out there are 128.
    for name in ("success/mean", "reward/guesser/mean", "reward/chooser/mean"):
        values = [row[f"rollout/{name}"] for row in rows if f"rollout/{name}" in row]
        assert len(values) == 40
        assert sum(values[-10:]) / 10 > sum(values[:10]) / 10 + 0.05, name
    # Advantages of a step were worked out agent by agent, and noted with each call.
    noted = [row for row in folder.rollouts.read() if row.get("advantages")]
    assert noted
    assert all(len(row["advantages"]) <= len(row["calls"]) == 3 for row in noted)
