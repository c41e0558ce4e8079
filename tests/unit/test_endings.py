"""How the driver words and counts the end of a run that was asked to stop."""

import os
import signal

import pytest

from rlagent.base.endings import Stopped
from rlagent.config.compose import Draft
from rlagent.config.prepare import prepare
from rlagent.launch.driver import Driver
from rlagent.launch.signals import Signals
from rlagent.launch.stage import guarded
from rlagent.machine.resources import Machine
from rlagent.records.display import SilentDisplay
from rlagent.records.folder import RunFolder
from rlagent.records.mirror_process import current_rows
from rlagent.records.summary import how_it_ended
from rlagent.report.trial_pages import lacks_page
from tests.configured import configured


@pytest.fixture
def driver(tmp_path):
    config = configured("hardware=cpu", "monitor=local")
    resolved = prepare(Draft(config, []), Machine((), 2, 8.0))
    folder = RunFolder(tmp_path / "demo-0123abcd")
    return Driver(resolved, folder, SilentDisplay(), None, None, None)


def test_a_stop_that_could_not_save_says_so():
    def stop():
        raise Stopped("the step under way was not saved")

    signals = Signals()
    ending = ("stopped", 1, "stopped on request; the step under way was not saved")
    assert guarded(stop, signals) == ending
    told = how_it_ended({"state": "stopped", "cause": ending[2], "steps_trained": 4})
    assert told == "Stopped on request after 4 steps; the step under way was not saved."
    signals.received.append(signal.SIGINT)
    state, code, cause = guarded(stop, signals)
    assert (state, code) == ("interrupted", 130)
    assert cause.endswith("(Ctrl+C); the step under way was not saved")


def test_ctrl_c_is_a_request_the_second_time_it_is_not_waited_for():
    before = signal.getsignal(signal.SIGINT)
    with Signals() as signals:
        signal.raise_signal(signal.SIGTERM)
        assert not signals.interrupted
        signal.raise_signal(signal.SIGINT)
        assert signals.interrupted
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_speed_follows_from_when_steps_ended_not_from_when_they_were_seen(driver):
    for step in (1, 2, 3):
        driver.stage.folder.append_metrics("trainer", step, {"tokens/trained": 100.0})
    rows = driver.stage.folder.read_metrics("trainer")
    for row, at in zip(rows, (5.0, 7.0, 12.0), strict=True):
        driver.stage.watch.step_trained({**row, "time": driver.stage.watch.started + at})
    ours = [row["metrics"] for row in driver.stage.folder.read_metrics("driver")]
    assert ours[0]["time/start_to_first_step"] == pytest.approx(5.0)
    assert [round(row["time/step"], 3) for row in ours[1:]] == [2.0, 5.0]
    assert [round(row["tokens/per_second"], 3) for row in ours[1:]] == [50.0, 20.0]
    assert driver.stage.folder.read_status()["steps_trained"] == 3
    assert driver.stage.watch.longest_step == pytest.approx(5.0)


def test_a_dashboard_gets_what_still_counts_of_earlier_attempts():
    rows = [{"attempt": 1, "step": step} for step in range(4)]
    assert current_rows(rows, 2, None) == rows
    assert current_rows(rows, 2, 2) == rows[:3]
    assert current_rows(rows, 2, 0) == []
    assert current_rows(rows, 1, 0) == rows


def test_the_process_is_named_as_the_driver_until_report_and_final_status_are_written(
    driver, monkeypatch
):
    drove = []

    def finish(*words):
        drove.append(
            (driver.stage.folder.read_status()["state"], driver.stage.folder.driver_alive())
        )

    monkeypatch.setattr(driver.stage.display, "finish", finish)
    driver.stage.folder.write_status(state="running", pid=os.getpid())
    driver._conclude("stopped", 1, "stopped on request")
    assert drove == [("stopped", True)]
    assert not driver.stage.folder.driver_alive()
    # Otherwise the report of a sweep would write it once more.
    assert not lacks_page(driver.stage.folder)
