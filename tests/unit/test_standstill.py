"""When nothing happens any more, the cause names who stands still, since when, and at what."""

import json
import logging
import math
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from rlagent.base import alive
from rlagent.base.endings import StallError
from rlagent.config.check import check
from rlagent.config.schema import LearnConfig
from rlagent.launch.session import Session
from rlagent.launch.standstill import (
    is_stuck,
    log_stacks,
    patience,
    seconds_since_change,
    standing_still,
    words,
)
from rlagent.records.failures import classify
from rlagent.trinity.translate import stall_seconds

ROLE = """
import sys
from rlagent.base import alive
alive.start("trainer", "starting")
alive.doing("training step 3")
print("ready", flush=True)
def stands_in_the_loss():
    sys.stdin.read()
stands_in_the_loss()
"""
KEY = "run.stall_timeout=20"


@pytest.fixture
def logs(tmp_path):
    made = tmp_path / "attempts" / "1" / "logs"
    made.mkdir(parents=True)
    return made


@pytest.fixture
def role(logs):
    """A process with signs of life."""
    env = {**os.environ, "TRINITY_LOG_DIR": str(logs)}
    with subprocess.Popen(
        [sys.executable, "-c", ROLE], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        yield process
        process.kill()


def _stop(process):
    os.kill(process.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)


def _age(logs, seconds):
    for path in alive.folder_of(logs).iterdir():
        os.utime(path, (time.time() - seconds,) * 2)


def test_a_role_that_lives_is_named_by_what_it_does(logs, role):
    line = words(["trainer", "explorer"], 25.0, logs, KEY)
    assert line.startswith(
        f"nothing has happened for 25 s ({KEY}) while waiting for the trainer and the explorer: "
        "the trainer has been training step 3 for "
    )
    assert classify(line, 1) == "stalled"


def test_a_stopped_role_is_named_with_since_when_at_what_and_its_state(logs, role, caplog):
    _stop(role)
    _age(logs, 100)
    since = time.strftime("%H:%M:%S", time.localtime(alive.signs(logs)[0].alive))
    line = words(["explorer"], 100.0, logs, KEY)
    assert line == (
        f"nothing has happened for 1 min 40 s ({KEY}): the trainer stands still since {since}, "
        f"while training step 3: its process {role.pid} is stopped (state T, as by SIGSTOP)"
    )
    with caplog.at_level(logging.ERROR, "rlagent"):
        log_stacks(logs)
    (record,) = caplog.records
    assert f"stack of the trainer, process {role.pid}, state T, training step 3" in record.message
    assert "stands_in_the_loss" in record.message


def test_a_role_that_goes_on_to_the_next_thing_is_a_sign_of_progress(logs, role):
    (sign,) = alive.signs(logs)
    assert seconds_since_change(logs, sign.since + 30.0) == pytest.approx(30.0)
    assert seconds_since_change(logs / "none", sign.since) == math.inf


def test_a_role_that_was_just_stopped_stands_still(logs, role):
    _stop(role)
    assert [sign.pid for sign in standing_still(logs, time.time())] == [role.pid]


def test_a_stopped_process_without_signs_is_named_by_its_title(logs):
    # As Ray entitles Trinity's synchronizer.
    reads = "import sys; print(flush=True); sys.stdin.read()"
    entitled = f"exec -a ray::synchronizer:Synchronizer.sync {sys.executable} -c '{reads}'"
    env = {**os.environ, "TRINITY_LOG_DIR": str(logs)}
    with subprocess.Popen(
        ["bash", "-c", entitled], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            process.stdout.readline()
            _stop(process)
            (sign,) = standing_still(logs, time.time())
            assert (sign.role, sign.pid) == ("Synchronizer", process.pid)
            assert "the Synchronizer stands still: its process" in words([], 9.0, logs, KEY)
        finally:
            process.kill()


def test_a_role_that_is_gone_or_lives_does_not_stand_still(logs, role):
    assert standing_still(logs, time.time()) == []
    role.kill()
    role.wait()
    _age(logs, 100)
    assert standing_still(logs, time.time()) == []


def test_a_silent_role_of_another_node_stands_still(logs):
    alive.folder_of(logs).mkdir()
    sign = {"role": "engine", "pid": 1, "host": f"not-{socket.gethostname()}"}
    path = alive.folder_of(logs) / "engine.json"
    path.write_text(json.dumps({**sign, "doing": "serving", "since": 0.0}))
    (alive.folder_of(logs) / "half.json").write_text('{"role": "tra')
    _age(logs, 100)
    assert "gives no sign of life" in words([], 100.0, logs, KEY)


@pytest.mark.parametrize(("role", "stuck"), [("engine", True), ("runner", False)])
def test_a_silent_runner_is_left_to_the_explorer_which_replaces_it(logs, role, stuck):
    alive.folder_of(logs).mkdir()
    sign = {"role": role, "pid": 1, "host": f"not-{socket.gethostname()}"}
    path = alive.folder_of(logs) / "role.json"
    path.write_text(json.dumps({**sign, "doing": "working", "since": 0.0}))
    _age(logs, 100)
    assert [sign.role for sign in standing_still(logs, time.time())] == [role]
    assert is_stuck(logs, time.time()) == stuck


TOOL = """
import os, signal, subprocess, sys
from rlagent.base import alive
alive.start("runner", "running rollouts")
tool = subprocess.Popen(["sleep", "1000"])
os.kill(tool.pid, signal.SIGSTOP)
os.waitid(os.P_PID, tool.pid, os.WSTOPPED | os.WNOWAIT)
print("ready", flush=True)
sys.stdin.read()
tool.kill()
"""


def test_a_stopped_program_of_an_agent_is_no_role(logs):
    env = {**os.environ, "TRINITY_LOG_DIR": str(logs)}
    with subprocess.Popen(
        [sys.executable, "-c", TOOL], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        assert standing_still(logs, time.time()) == []
        process.stdin.close()


@pytest.mark.parametrize(("value", "wrong"), [("auto", 0), (30, 0), ("soon", 1), (0, 1)])
def test_the_patience_is_a_number_or_auto(value, wrong):
    config = LearnConfig()
    config.run.stall_timeout = value
    assert sum(problem.key == "run.stall_timeout" for problem in check(config)) == wrong


def test_a_session_fails_when_a_role_stands_still_and_else_only_when_all_patience_is_spent(
    logs, role
):
    # Of a session only its patience, which needs no actors.
    session = Session(None, 1, lambda: False, print, lambda: 0.0, 20.0, lambda: (20.0, 50.0), logs)
    past = alive.signs(logs)[0].since - 100
    _set_since(logs, past)
    session._fail_if_stalled(["trainer"], 15.0)
    session._fail_if_stalled(["trainer"], 45.0)
    with pytest.raises(StallError, match="has been training step 3"):
        session._fail_if_stalled(["trainer"], 55.0)
    _stop(role)
    session._fail_if_stalled(["trainer"], 15.0)
    with pytest.raises(StallError, match="the trainer stands still since"):
        session._fail_if_stalled(["trainer"], 45.0)
    # Something began a moment ago.
    _set_since(logs, time.time())
    session._fail_if_stalled(["trainer"], 55.0)


def _set_since(logs, when):
    (path,) = alive.folder_of(logs).glob("*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "since": when}))


@pytest.mark.parametrize("asked", ["auto", 20.0, 30 * 86_400.0])
def test_trinitys_parts_wait_longer_for_each_other_than_the_driver_for_them(asked):
    config = LearnConfig()
    config.run.stall_timeout = asked
    longest = max(patience(asked, 100.0, 600.0))
    assert stall_seconds(config) > longest
