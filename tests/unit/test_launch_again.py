"""What a second launch of a trial does with the folder of the first: resume, from scratch, refuse.

Only the training is pretended; the folder, its record and the decision are real.
"""

import threading

import pytest

from rlagent.base.errors import ConfigError
from rlagent.config.prepare import prepare
from rlagent.launch import launch as launching
from rlagent.machine.resources import GPU, Machine
from rlagent.records.display import SilentDisplay
from rlagent.records.folder import RunFolder
from tests.configured import drafted

CPU = Machine((), 2, 24)
FLOW = "async def solve(task, model):\n    return {reward}\n"


class Driver:
    """Trains as many steps as it is given to, and says how it ended."""

    trained = None

    def __init__(self, resolved, folder, *_):
        self.resolved, self.folder = resolved, folder

    def run(self):
        asked = int(self.resolved.config.algorithm.total_steps)
        trained = asked if self.trained is None else self.trained
        state = "finished" if trained == asked else "stopped"
        self.folder.new_attempt()
        self.folder.write_status(
            state=state, exit_code=0, steps_trained=trained, steps_asked=asked, cause=""
        )


class Listening(SilentDisplay):
    def __init__(self):
        self.said = []

    def message(self, text):
        self.said.append(text)


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Launches one trial; returns how it ended, and what was said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launching, "Driver", Driver)
    (tmp_path / "flow.py").write_text(FLOW.format(reward=0))

    def run(*overrides, machine=CPU, trained=None, function=None):
        monkeypatch.setattr(Driver, "trained", trained)
        display = Listening()
        monkeypatch.setattr(launching, "make_display", lambda kind: display)
        common = ("workflow.function=flow.py:solve", "monitor=local", "algorithm.total_steps=10")
        resolved = prepare(drafted(*common, *overrides), machine)
        return launching.launch(resolved, function), "\n".join(display.said)

    return run


def edit(tmp_path, reward):
    (tmp_path / "flow.py").write_text(FLOW.format(reward=reward))


def test_a_finished_run_whose_workflow_was_edited_is_not_done(train, tmp_path):
    first, _ = train()
    _, said = train()
    assert "done on" in said
    edit(tmp_path, 1)
    other, said = train()
    assert "the workflow changed since the run finished" in said
    assert RunFolder(other.folder).attempt_numbers() == [1]
    assert other.folder.with_name(f"{first.folder.name}.1").is_dir()


def test_an_edited_workflow_goes_on_only_on_request_and_is_the_runs_own_from_then_on(
    train, tmp_path, capsys
):
    train(trained=4)
    edit(tmp_path, 1)
    refused, _ = train()
    assert refused.exit_code == 1
    assert "run.resume_changed=true" in capsys.readouterr().err
    went_on, said = train("run.resume_changed=true")
    assert "the workflow changed" in said
    assert RunFolder(went_on.folder).attempt_numbers() == [1, 2]
    _, said = train()
    assert "done on" in said


def test_a_run_begun_on_a_cpu_does_not_go_on_with_another_model_on_gpus(train, capsys):
    begun, _ = train(trained=4)
    gpus = Machine((GPU("H100", 80),) * 8, 64, 512)
    refused, _ = train(machine=gpus)
    assert refused.folder == begun.folder
    assert refused.exit_code == 1
    said = capsys.readouterr().err
    assert "this run began with the model builtin:tiny and the engine embedded" in said
    assert RunFolder(begun.folder).read_status()["steps_trained"] == 4


def test_more_steps_say_what_they_make_of_the_schedule(train):
    cosine = "algorithm.lr_schedule=cosine"
    train(cosine)
    _, said = train(cosine, "algorithm.total_steps=20")
    assert "note: the cosine schedule now ends at step 20, not 10: step 11 takes the rate" in said
    _, said = train(cosine, "algorithm.total_steps=20")
    assert "note" not in said


def test_more_steps_of_a_constant_rate_say_nothing(train):
    train("seed=5")
    _, said = train("seed=5", "algorithm.total_steps=20")
    assert "rate" not in said


def test_a_function_that_cannot_be_passed_on_sets_nothing_aside(train):
    class Odd:
        __lock__ = threading.Lock()

        def __call__(self, task, model):
            return 0.0

    done, _ = train()
    with pytest.raises(ConfigError, match="cannot be passed to the processes of rollouts"):
        train("run.fresh=true", function=Odd())
    assert RunFolder(done.folder).attempt_numbers() == [1]
    assert not done.folder.with_name(f"{done.folder.name}.1").exists()
