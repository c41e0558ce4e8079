"""What an actor warns of is said on the screen."""

import pytest

from rlagent.base.endings import RunError
from rlagent.config.resolve import resolve
from rlagent.launch.signals import Signals
from rlagent.launch.watch import Watch
from rlagent.machine.resources import Machine
from rlagent.records import warnings
from rlagent.records.display import Display
from rlagent.records.folder import RunFolder
from tests.configured import configured


class _Said(Display):
    def __init__(self):
        self.lines = []

    def message(self, line):
        self.lines.append(line)


@pytest.fixture
def watch(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "run")
    attempt = folder.new_attempt()
    monkeypatch.setenv("TRINITY_LOG_DIR", str(attempt.logs))
    resolved = resolve(configured("algorithm.skip_limit=2"), Machine((), 2, 24))
    return Watch(resolved, folder, attempt, _Said(), Signals())


def test_each_warning_of_an_actor_is_said_once_in_one_line(watch):
    warnings.say("a rollout blocks the event loop\nat tool.py:3")
    watch.look()
    warnings.say("a rollout blocks the event loop\nat tool.py:3")
    warnings.say("another")
    watch.look()
    assert watch.display.lines == [
        "warning: a rollout blocks the event loop at tool.py:3",
        "warning: another",
    ]


def test_a_gradient_that_is_not_finite_is_said_and_ends_the_run_when_it_stays_so(watch):
    def trained(step: int, skipped: float) -> None:
        watch.folder.append_metrics("trainer", step, {"actor/skipped_updates": skipped}, attempt=1)
        watch.tick()

    trained(1, 1.0)
    trained(2, 0.0)
    trained(3, 1.0)
    assert [line.split(":")[1] for line in watch.display.lines] == [" step 1", " step 3"]
    with pytest.raises(RunError, match=r"not finite in 2 steps in a row.*algorithm\.lr"):
        trained(4, 1.0)
    # What is left to be read at the end is.
    watch.look()
