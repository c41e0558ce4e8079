"""`rlagent try` and `rlagent chat` as a person calls them, on a checkpoint of the tiny model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from trained_run import make_run

from rlagent.records.folder import RunFolder
from rlagent.records.summary import after_lines

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
TASK = {"question": "A shop has 12 boxes with 3 apples each. How many apples are there?"}
WORKFLOW = """
async def solve(task, model):
    for _ in range(2):
        await model([{"role": "user", "content": task["question"]}])
    return len(task["answer"]) / 4
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_run(tmp_path_factory.mktemp("runs"), 10).path.parent
    (folder / "mine.py").write_text(WORKFLOW)
    return folder


def call(root: Path, *arguments: str, said: str = "") -> subprocess.CompletedProcess:
    done = subprocess.run(
        [sys.executable, "-m", *arguments, "--root", str(root)],
        cwd=root, env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        capture_output=True, text=True, input=said,
    )  # fmt: skip
    left = [p for p in psutil.process_iter(["cmdline"]) if str(root) in (p.info["cmdline"] or [])]
    assert left == []
    return done


def files(root: Path) -> set[Path]:
    return {path for path in root.rglob("*") if "exports" not in path.parts and path.is_file()}


def test_a_task_without_its_answer_shows_the_conversation_and_why_there_is_no_reward(
    root: Path,
) -> None:
    before = files(root)
    done = call(root, "rlagent.try", "1a2b3c4d", "--task", json.dumps(TASK))
    assert done.returncode == 1, done.stderr
    assert "the task has no answer, which tasks of this run have" in done.stderr
    assert TASK["question"] in done.stdout
    assert "You solve math word problems." in done.stdout
    assert "failed: KeyError: 'answer'" in done.stdout
    assert files(root) == before


def test_samples_of_a_workflow_of_ones_own_show_reward_and_how_they_differ(root: Path) -> None:
    task = json.dumps({**TASK, "answer": "36"})
    own = ("--workflow", "mine.py:solve", "--samples", "2", "--step", "base")
    done = call(root, "rlagent.try", "1a2b3c4d", "--task", task, *own)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.count("reward 0.5, no success\n") == 2
    assert "model_calls 2" in done.stdout
    assert "0 of 2 succeeded" in done.stdout


def test_a_chat_answers_what_is_typed_and_saves_it(root: Path, tmp_path: Path) -> None:
    typed = f"What is 2 + 3?\n/save {tmp_path}/chat.json\n"
    done = call(root, "rlagent.chat", "1a2b3c4d", "--max-tokens", "8", said=typed)
    assert done.returncode == 0, done.stderr
    roles = [m["role"] for m in json.loads((tmp_path / "chat.json").read_text())["messages"]]
    assert roles == ["user", "assistant"]


def test_what_a_run_names_as_next_works_as_printed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Python's path is printed as short as it can be typed from here.
    monkeypatch.chdir(root)
    printed = {
        line.split(" -m rlagent.")[1].split()[0]: line.strip()
        for line in after_lines(RunFolder(root / "mine-1a2b3c4d"))[1:]
    }
    # The other two serve until they are ended.
    for name in ("export", "chat"):
        done = subprocess.run(
            printed[name], shell=True, cwd=root, env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert (root / "mine-1a2b3c4d-model" / "model.safetensors").is_file()
