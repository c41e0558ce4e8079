"""How `learn` ends for the script that called it, and what the script is told to run next."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from rlagent import LearnConfig, LearnError, LearnStopped, learn
from rlagent.base.words import same_command, script_command
from rlagent.config.prepare import prepare
from rlagent.launch.driver import Driver
from rlagent.machine.resources import Machine
from rlagent.records.display import SilentDisplay
from rlagent.records.folder import RunFolder
from tests.configured import drafted

REPOSITORY = Path(__file__).parents[2]

SCRIPT = """
import sys
from types import SimpleNamespace
from rlagent import LearnConfig, learn

def launch(resolved, workflow_func, judge_func, command):
    print("to resume:", command({}), flush=True)
    return SimpleNamespace(state=sys.argv[1], exit_code=int(sys.argv[2]), cause="as it says")

sys.modules["rlagent.launch.launch"] = SimpleNamespace(launch=launch)

async def ask(task, model):
    return 1.0

learn(workflow_func=ask, config=LearnConfig())
print("goes on")
"""


@pytest.fixture
def script(tmp_path):
    """Runs a script over `learn` whose run ends with the given state and exit code."""
    (tmp_path / "my script.py").write_text(SCRIPT)

    def run(*arguments: str) -> subprocess.CompletedProcess:
        line = [sys.executable, "my script.py", *arguments]
        environment = {"PATH": "", "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": ""}
        return subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True)

    return run


@pytest.mark.parametrize(("state", "code"), [("stopped", 1), ("interrupted", 130)])
def test_a_run_that_was_asked_to_stop_ends_its_script_as_it_ends_the_command(script, state, code):
    done = script(state, str(code))
    assert done.returncode == code
    assert done.stderr == ""
    assert "goes on" not in done.stdout
    assert done.stdout.splitlines()[-1].endswith(f" 'my script.py' {state} {code}")


def test_a_failed_run_ends_its_script_with_its_cause_and_a_finished_one_does_not(script):
    failed = script("failed", "1")
    assert failed.returncode == 1
    assert "LearnError: as it says" in failed.stderr
    finished = script("finished", "0")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.splitlines()[-1] == "goes on"


def test_a_script_that_catches_a_stop_learns_how_far_the_run_came(monkeypatch):
    outcome = SimpleNamespace(state="stopped", exit_code=1, cause="on request", steps_trained=7)
    stand_in = SimpleNamespace(launch=lambda resolved, **functions: outcome)
    monkeypatch.setitem(sys.modules, "rlagent.launch.launch", stand_in)

    async def ask(task, model):
        return 1.0

    with pytest.raises(LearnStopped) as caught:
        learn(workflow_func=ask, config=LearnConfig())
    assert not isinstance(caught.value, LearnError)
    assert (caught.value.outcome.steps_trained, str(caught.value)) == (7, "on request")


def test_a_path_is_no_configuration():
    with pytest.raises(TypeError, match=r"LearnConfig\.load_config"):
        learn(workflow_func=lambda task, model: 1.0, config="config.yaml")


def test_what_a_script_has_to_change_stands_beside_its_command(monkeypatch):
    argv = [sys.executable, "train.py"]
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "train.py", raising=False)
    assert script_command(argv=argv).endswith(" train.py")
    longer = script_command({"algorithm.total_steps": 40}, argv)
    assert longer.endswith(" train.py  # with algorithm.total_steps=40 in its configuration")


def test_in_a_notebook_there_is_no_script_to_run_again(monkeypatch):
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    assert script_command() == "call learn() again, with the same configuration"


def test_the_command_that_resumes_does_not_start_from_scratch(tmp_path):
    resolved = prepare(
        drafted("hardware=cpu", "monitor=local", "run.fresh=true", "algorithm.total_steps=3"),
        Machine((), 2, 8.0),
    )
    argv = [sys.executable, "-m", "rlagent.train", "run.fresh=true"]
    driver = Driver(
        resolved,
        RunFolder(tmp_path / "demo-0123abcd"),
        SilentDisplay(),
        None,
        None,
        lambda changes: same_command(changes, argv),
    )
    assert (driver._next_command("stopped") or "").endswith("rlagent.train run.fresh=false")
    longer = driver._next_command("finished") or ""
    assert longer.endswith("rlagent.train run.fresh=false algorithm.total_steps=6")
