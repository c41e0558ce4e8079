"""`rlagent stop` ends the run that is meant, and only that."""

import os
import signal
import socket
import subprocess
import sys
import textwrap

import pytest

from rlagent.records.folder import RunFolder
from rlagent.records.sweep_store import Sweep, SweepFolder
from rlagent.stop import main, stop, stop_sweep
from tests import stand_in

DRIVER = """
import os, signal, sys
from rlagent.records.folder import RunFolder
folder = RunFolder(sys.argv[1])
def end(*_):
    if {obeys} and folder.stop_requested():
        folder.write_status(state="stopped", cause="stopped on request", pid=None)
        sys.exit(1)
signal.signal(signal.SIGTERM, end)
folder.write_status(state="running", pid=os.getpid(), steps_asked=9, steps_trained=4)
print("ready", flush=True)
sys.stdin.read()
"""


LAUNCHER = """
import os, signal, socket, sys
from rlagent.base import process
from rlagent.records.sweep_store import Sweep, SweepFolder
folder = SweepFolder(sys.argv[1])
me = dict(pid=os.getpid(), pid_ticks=process.start_ticks(os.getpid()), host=socket.gethostname())
def end(*_):
    folder.write(Sweep("demo", "1", [], state="stopped"))
    sys.exit(1)
signal.signal(signal.SIGTERM, end)
folder.write(Sweep("demo", "1", [], **me))
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def driver(tmp_path, request, monkeypatch):
    """A process that stands for a driver in a long call; it ends with the test."""
    monkeypatch.setattr("rlagent.stop.PATIENCE", 0.1)
    folder = RunFolder(tmp_path / "outputs" / "demo-0123abcd")
    code = textwrap.dedent(DRIVER.format(obeys=getattr(request, "param", True)))
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    process.stdout.readline()
    yield folder, process
    process.communicate()


def test_a_run_is_asked_and_its_end_is_shown(driver, capsys):
    folder, process = driver
    assert main(["0123abcd", "--root", str(folder.path.parent)]) == 0
    assert process.wait() == 1
    assert folder.read_status()["cause"] == "stopped on request"
    assert "Stopped on request after 4 of 9 steps" in capsys.readouterr().out


def test_latest_is_the_newest_run_of_the_outputs_where_one_stands(driver, monkeypatch, capsys):
    folder, process = driver
    older, elsewhere = (
        RunFolder(folder.path.parent / "older-1"),
        RunFolder(folder.path.parents[1] / "elsewhere" / "outputs" / "other-1"),
    )
    for other in (older, elsewhere):
        # This very process, but recorded with another start: none may be signalled.
        other.write_status(state="running", pid=os.getpid(), pid_ticks=1)
    for pointed in (older, folder, elsewhere):
        pointed.point_latest()
    monkeypatch.chdir(elsewhere.path.parents[1])
    assert main(["latest"]) == 1
    assert "other-1 says running" in capsys.readouterr().err
    assert process.poll() is None
    monkeypatch.chdir(folder.path.parents[1])
    assert main(["latest"]) == 0
    assert process.wait() == 1
    said = capsys.readouterr().out
    assert "demo-0123abcd was asked to stop" in said
    assert "Stopped on request after 4 of 9 steps" in said
    assert not older.stop_requested()
    assert not elsewhere.stop_requested()


def test_where_nothing_has_run_there_is_no_latest(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["latest"]) == 2
    assert "there are no runs in outputs/" in capsys.readouterr().err


def test_a_latest_whose_run_was_removed_names_the_runs_there_are(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    RunFolder("outputs/kept-1").write_status(state="finished")
    (tmp_path / "outputs" / "latest").symlink_to("removed-1")
    assert main(["latest"]) == 2
    assert "kept-1" in capsys.readouterr().err


@pytest.mark.parametrize("driver", [False], indirect=True)
def test_a_driver_that_has_written_its_final_status_is_not_cut_off(driver, monkeypatch):
    folder, _ = driver
    ask = RunFolder.request_stop

    def ask_and_end(self):
        ask(self)
        self.write_status(state="stopped", cause="stopped on request", pid=None)

    monkeypatch.setattr(RunFolder, "request_stop", ask_and_end)
    signals = []
    monkeypatch.setattr("rlagent.stop.signal.pidfd_send_signal", lambda *sent: signals.append(sent))
    stop(folder, timeout=0.3)
    assert signals == []


@pytest.mark.parametrize("driver", [False], indirect=True)
def test_a_driver_that_does_not_end_in_time_is_named_and_left_alone(driver, capsys):
    folder, process = driver
    assert stop(folder, timeout=0.2) == 1
    assert process.poll() is None
    assert "has not ended" in capsys.readouterr().err


def test_another_process_with_the_recorded_number_is_not_signalled(tmp_path, capsys):
    folder = RunFolder(tmp_path)
    # This very process, but recorded with another start: SIGTERM would end the test.
    folder.write_status(state="running", pid=os.getpid(), pid_ticks=1)
    assert stop(folder) == 1
    assert "is gone" in capsys.readouterr().err
    assert not folder.stop_requested()


def test_a_thread_with_the_recorded_number_is_not_the_driver(tmp_path, capsys):
    folder = RunFolder(tmp_path)
    with stand_in.thread_number() as number:
        folder.write_status(state="running", pid=number, pid_ticks=1)
        assert stop(folder) == 1
    assert "is gone" in capsys.readouterr().err


def test_a_run_that_has_ended_is_left_as_it_is(tmp_path, capsys):
    folder = RunFolder(tmp_path)
    folder.write_status(state="finished", steps_asked=3, steps_trained=3)
    assert stop(folder) == 0
    assert "has ended already" in capsys.readouterr().out
    assert not folder.stop_requested()


def test_a_run_on_another_machine_is_asked_through_the_folder(tmp_path, capsys):
    folder = RunFolder(tmp_path)
    folder.write_status(state="running", pid=1, host="elsewhere", pid_ticks=1)
    assert stop(folder) == 0
    assert folder.stop_requested()


def test_no_such_run_exits_2(tmp_path, capsys):
    assert main(["nothing", "--root", str(tmp_path)]) == 2


def test_a_sweep_is_asked_by_its_name_and_its_end_is_shown(tmp_path, capsys):
    folder = SweepFolder(tmp_path / "sweep-demo-1")
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(folder.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    process.stdout.readline()
    try:
        assert main(["sweep-demo-1", "--root", str(tmp_path)]) == 0
        assert process.wait() == 1
    finally:
        process.communicate()
    assert "sweep-demo-1: stopped." in capsys.readouterr().out


def test_a_sweep_that_has_ended_or_whose_launcher_is_gone_is_not_signalled(tmp_path, capsys):
    folder = SweepFolder(tmp_path / "sweep-demo-1")
    folder.write(Sweep("demo", "1", [], state="finished"))
    assert stop_sweep(folder) == 0
    # This very process, but recorded with another start: SIGTERM would end the test.
    folder.write(Sweep("demo", "1", [], pid=os.getpid(), pid_ticks=1, host=socket.gethostname()))
    assert stop_sweep(folder) == 1
    assert "is gone" in capsys.readouterr().err
    folder.write(Sweep("demo", "1", [], pid=1, host="elsewhere"))
    assert stop_sweep(folder) == 1
    assert "elsewhere" in capsys.readouterr().err


def test_a_frozen_run_is_named_with_the_way_to_let_it_go_on(driver, capsys):
    folder, process = driver
    process.send_signal(signal.SIGSTOP)
    os.waitpid(process.pid, os.WUNTRACED)
    assert stop(folder) == 1
    said = capsys.readouterr()
    assert f"process {process.pid} is frozen" in said.err
    assert f"kill -CONT {process.pid}" in said.err
    # Once it goes on it finds the request.
    assert folder.stop_requested()
    process.send_signal(signal.SIGCONT)
