"""The experiments with tools learn, each by its one command."""

import subprocess
import sys
from pathlib import Path

import pytest

from rlagent.records.folder import RunFolder
from tests.cpu.runs import REPOSITORY, environment, only_folder


def evaluations(directory: Path, experiment: str, *overrides: str) -> list[dict[str, float]]:
    """The evaluations of an experiment's run, from the first to the last."""
    words = [f"+experiment={experiment}", "hardware=cpu", f"run.dir={directory}/outputs"]
    done = subprocess.run(
        [sys.executable, "-m", "rlagent.train", *words, *overrides],
        cwd=REPOSITORY,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    folder: RunFolder = only_folder(directory)
    rows = [row["metrics"] for row in folder.read_metrics("explorer")]
    return [metrics for metrics in rows if "eval/success" in metrics]


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("experiment", ["code", "mcp_tools"])
def test_success_rises(tmp_path, experiment):
    first, *_, last = evaluations(tmp_path, experiment, "algorithm.total_steps=30")
    assert 0.1 <= first["eval/success"] <= 0.6
    assert last["eval/success_low"] > first["eval/success"]
