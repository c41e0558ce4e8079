"""A driver that ends without a final status, as Ray ends it when its head is lost: what is left of
the run is neither in use nor done, and everything that looks at it says so."""

import os
import subprocess
import sys

import pytest

from rlagent import report, stop
from rlagent.base.lock import locked
from rlagent.launch.decide import Action, decide
from rlagent.records import listing
from rlagent.records.failures import CRASHED, LOST_ACTOR, ending, is_retried
from rlagent.records.folder import RunFolder
from rlagent.report.data import load
from rlagent.report.page import page

RECORD = {"layout": "1x1+1", "workflow": "w", "dataset": "d"}

DRIVER = """
import os, subprocess, sys
from rlagent.records.folder import RunFolder
from rlagent.base.lock import locked
folder = RunFolder(sys.argv[1])
with locked(folder.path) as lock:
    assert lock
    folder.new_attempt()
    folder.write_status(
        state=sys.argv[2], pid=os.getpid(), steps_asked=9, steps_trained=int(sys.argv[3]), cause=""
    )
    folder.point_latest()
    # As the processes of Ray and the mirror, it outlives the driver.
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=0)
    print(child.pid, flush=True)
    os._exit(1)
"""


@pytest.fixture(params=[("starting", 0), ("running", 4)], ids=["starting", "running"])
def died(tmp_path, request):
    """The folder of a run whose driver was ended by os._exit, while a process of its lives on."""
    state, trained = request.param
    folder = RunFolder(tmp_path / "outputs" / "demo-0123abcd")
    folder.path.mkdir(parents=True)
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(folder.path), state, str(trained)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert driver.stdout is not None
    left = int(driver.stdout.readline())
    assert driver.wait() == 1
    assert folder.read_status()["state"] == state
    assert os.path.exists(f"/proc/{left}")
    yield folder
    # Closes the standard input that both shared, upon which the process left behind ends.
    driver.communicate()


def test_its_folder_is_free_and_the_same_command_resumes_it(died):
    with locked(died.path) as lock:
        assert lock is not None
    status = died.read_status()
    assert decide(status, RECORD, RECORD, total_steps=9, fresh=False).action is Action.RESUME
    # Nor is it done when as many steps are asked as it had trained: the final status is missing.
    trained = status["steps_trained"]
    assert decide(status, RECORD, RECORD, trained, fresh=False).action is Action.RESUME
    assert decide(status, RECORD, RECORD, total_steps=9, fresh=True).action is Action.FROM_SCRATCH


def test_before_its_record_was_written_it_starts(died):
    assert decide(died.read_status(), None, RECORD, 9, fresh=False).action is Action.START


def test_it_is_shown_as_died_by_runs_and_report(died, capsys):
    assert listing.run_entry(died).state == "died"
    assert died.standing() == {**died.read_status(), "state": "died"}
    assert report.main([str(died.path), "--format", "markdown"]) == 0
    said = capsys.readouterr().out
    trained = died.read_status()["steps_trained"]
    assert f"Died after {trained} of 9 steps" in said
    assert "the same command resumes it" in said
    assert '<span class="state bad">died</span>' in page(load(died))


def test_to_stop_it_says_that_it_is_gone_and_leaves_no_request(died, capsys):
    assert stop.stop(died) == 1
    said = capsys.readouterr().err
    assert "is gone" in said
    assert "The same command resumes it" in said
    assert not died.stop_requested()


def test_as_a_trial_it_is_tried_again(died):
    status = died.read_status()
    lost = ending(status, 1, "ray.exceptions.ActorDiedError: The actor died unexpectedly")
    crashed = ending(status, -6, "*** SIGABRT received ***")
    assert [lost.state, crashed.state] == ["failed", "failed"]
    assert [lost.failure, crashed.failure] == [LOST_ACTOR, CRASHED]
    assert is_retried(lost.failure)
    assert is_retried(crashed.failure)


def test_a_run_that_ends_between_two_looks_has_not_died(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    folder.write_status(state="running", pid=os.getpid(), pid_ticks=1)
    looks = iter([folder.read_status(), folder.write_status(state="finished", pid=None)])
    monkeypatch.setattr(folder, "read_status", lambda: next(looks))
    assert folder.standing()["state"] == "finished"


def test_of_a_run_on_another_machine_what_it_last_wrote_counts(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_status(state="running", pid=1, host="elsewhere", pid_ticks=1)
    assert folder.standing()["state"] == "running"


def test_a_folder_without_a_status_has_none(tmp_path):
    assert RunFolder(tmp_path).standing() == {}
