"""The README's own example runs as printed."""

import re
import shlex
import subprocess
import sys

import pytest

from rlagent.base.paths import asset_dir
from tests.cpu.runs import REPOSITORY, environment, only_folder

README = (REPOSITORY / "README.md").read_text()


@pytest.mark.slow
def test_my_own_agent_on_my_own_file_trains(tmp_path):
    code = next(
        block for block in re.findall(r"```python\n(.*?)```", README, re.S) if "solve" in block
    )
    line = next(line for line in README.splitlines() if "my_agent.py:solve" in line).strip()
    assert line.startswith("python -m rlagent.train ")
    (tmp_path / "my_agent.py").write_text(code)
    tasks = (asset_dir("gsm8k_tiny") / "train.jsonl").read_text().splitlines()[:40]
    (tmp_path / "tasks.jsonl").write_text("\n".join(tasks) + "\n")
    small = ["algorithm.total_steps=1", "algorithm.batch_size=4", "algorithm.repeat_times=4"]
    done = subprocess.run(
        [sys.executable, *shlex.split(line)[1:], *small],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    folder = only_folder(tmp_path)
    assert folder.read_status()["state"] == "finished"
    assert (folder.path / "data" / "heldout" / "test.jsonl").read_text().count("\n") == 4
