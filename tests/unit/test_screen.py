"""A command goes on when nobody can read what it prints, and ends as it would have."""

import io
import os
import pty
import signal
import subprocess
import sys

import pytest

from rlagent.base.screen import lasting
from rlagent.launch.signals import Signals
from rlagent.sweep.interrupts import SignalQueue

SPEAKS = """
import sys
from rlagent.records.display import make_display as of_a_run
from rlagent.base.screen import lasting_streams
from rlagent.sweep.live_table import make_display as of_a_sweep
with lasting_streams():
    for make in (of_a_run, of_a_sweep):
        for mode in ("plain", "live"):
            display = make(mode)
            for number in range(200):
                display.message(f"line {number}")
    print("unflushed")
    print("to the error stream", file=sys.stderr)
    sys.exit(3)
"""


def _closed_pipe():
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def _full_disk():
    return os.open("/dev/full", os.O_WRONLY)


def _closed_terminal():
    ours, theirs = pty.openpty()
    os.close(ours)
    return theirs


@pytest.mark.parametrize("make", [_closed_pipe, _full_disk, _closed_terminal])
def test_output_that_cannot_be_written_changes_nothing_else(make):
    out = make()
    try:
        # Both streams, as in `2>&1 | head`.
        done = subprocess.run([sys.executable, "-c", SPEAKS], stdout=out, stderr=out, check=False)
    finally:
        os.close(out)
    assert done.returncode == 3


def test_a_command_without_any_standard_output_goes_on():
    command = f"exec {sys.executable} -c '{SPEAKS}' >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], check=False).returncode == 3


def test_a_reader_that_has_seen_enough_ends_no_command(tmp_path):
    plan = f"{sys.executable} -m rlagent.train --help"
    done = subprocess.run(
        ["bash", "-c", f"{plan} | head -1; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "0"
    assert done.stderr == ""


def test_what_the_encoding_lacks_is_escaped():
    raw = io.BytesIO()
    stream = lasting(io.TextIOWrapper(raw, encoding="latin-1"))
    print("reward ▁█, \ud800, caf\xe9", file=stream, flush=True)
    assert raw.getvalue() == b"reward \\u2581\\u2588, \\ud800, caf\xe9\n"


@pytest.fixture
def hang_up():
    """Sets what SIGHUP does before, and puts it back."""
    before = signal.getsignal(signal.SIGHUP)
    yield lambda how: signal.signal(signal.SIGHUP, how)
    signal.signal(signal.SIGHUP, before)


def test_a_closed_terminal_asks_a_run_to_stop(hang_up):
    hang_up(signal.SIG_DFL)
    with Signals() as signals:
        signal.raise_signal(signal.SIGHUP)
        assert (signals.hung_up, signals.interrupted) == (True, False)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


def test_a_closed_terminal_asks_a_sweep_to_stop_its_trials(hang_up):
    hang_up(signal.SIG_DFL)
    with (queue := SignalQueue()):
        signal.raise_signal(signal.SIGHUP)
        assert queue.take() == [signal.SIGTERM]


@pytest.mark.parametrize("make", [Signals, SignalQueue])
def test_under_nohup_a_closed_terminal_is_nothing(hang_up, make):
    hang_up(signal.SIG_IGN)
    with make():
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
