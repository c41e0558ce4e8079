"""A disk that is full and a launcher that fails: what was trained is not lost."""

import errno
import io
import time
from pathlib import Path

import pytest

from rlagent.records.folder import RunFolder
from rlagent.records.sweep_store import Sweep, SweepFolder
from rlagent.sweep.grid import GridSource
from rlagent.sweep.live_table import PlainLines
from rlagent.sweep.options import Options
from rlagent.sweep.pool import run_sweep
from rlagent.sweep.rows import Rows
from rlagent.sweep.source import Trial
from tests import stand_in
from tests.unit.test_pool import ROOMY, Recorded, run, states


class FullDisk(SweepFolder):
    """A folder to which nothing can be written for some times."""

    def __init__(self, path: Path, times: int) -> None:
        super().__init__(path)
        self.times = times

    def write(self, sweep: Sweep) -> None:
        self.times -= 1
        if self.times >= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().write(sweep)


@pytest.mark.parametrize(("times", "code"), [(1, 0), (10**6, 1)])
def test_a_full_disk_ends_no_trial_and_is_said_once(times: int, code: int, tmp_path) -> None:
    trials, text = [stand_in.trial(tmp_path, 0), stand_in.trial(tmp_path, 1)], io.StringIO()
    folder = FullDisk(tmp_path / "outputs" / "sweep-x", times)
    sweep = Sweep("sweep-x", "x", [])
    options = Options(argv=stand_in.argv, env=stand_in.environment())
    display = PlainLines(text)
    # What is not written down is not done, hence the exit status.
    assert run_sweep(folder, sweep, GridSource(trials), ROOMY, options, display) == code
    assert states(sweep) == ["finished", "finished"]
    assert text.getvalue().count("sweep.json cannot be written: [Errno 28]") == 1


def test_what_could_not_be_written_is_tried_again(tmp_path) -> None:
    folder, text = FullDisk(tmp_path / "sweep-x", times=2), io.StringIO()
    rows = Rows(folder, Sweep("sweep-x", "x", []), PlainLines(text))
    assert [rows.write(), rows.write(), rows.changed, rows.write(), rows.changed] == [
        False,
        False,
        True,
        True,
        False,
    ]
    assert text.getvalue().count("\n") == 1
    assert folder.exists()


class Breaks(Recorded):
    """A source with a mistake, which shows when the first value is measured."""

    def report(self, trial: Trial, step: int, value: float) -> bool:
        raise ZeroDivisionError


@pytest.mark.parametrize(("behaviour", "left"), [("wait", "stopped"), ("deaf", "running")])
def test_when_the_launcher_fails_trials_save_first_and_are_killed_when_that_takes_too_long(
    behaviour: str, left: str, monkeypatch, tmp_path
) -> None:
    if behaviour == "deaf":
        monkeypatch.setattr("rlagent.sweep.child.PATIENCE", 0.1)
    one = stand_in.trial(tmp_path, 0, behaviour)
    with pytest.raises(ZeroDivisionError):
        run(tmp_path, [one], source=Breaks([one]))
    folder = RunFolder(tmp_path / "outputs" / one.folder_name)
    assert folder.read_status()["state"] == left
    # Killed, that one may take a moment to be gone.
    while folder.driver_alive():
        time.sleep(0.02)
