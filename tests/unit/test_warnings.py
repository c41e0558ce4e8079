"""What an actor warns of is said on the screen."""

import pytest

from rlagent.launch.signals import Signals
from rlagent.launch.watch import Watch
from rlagent.records import warnings
from rlagent.records.display import Display
from rlagent.records.folder import RunFolder


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
    # What it was resolved to matters for rows of metrics only.
    return Watch(None, folder, attempt, _Said(), Signals())


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
