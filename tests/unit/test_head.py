"""A lost Ray is noticed by the run before Ray ends the run's process."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from rlagent.launch.head import GONE_AFTER, PROBE_EVERY, Head, LastResort, LostRayError, end_marked

WAITS = [sys.executable, "-c", "import sys; sys.stdin.read()"]


@pytest.fixture
def process():
    """One that stands for Ray's gcs_server."""
    with subprocess.Popen(WAITS, stdin=subprocess.PIPE) as process:
        yield process


def test_a_killed_head_is_named_with_its_end(process):
    head = Head("127.0.0.1:1", {"gcs_server": process})
    head.check()
    process.kill()
    process.wait()
    with pytest.raises(
        LostRayError, match=rf"gcs_server \(process {process.pid}\) was killed by SIGKILL.* resumes"
    ):
        head.check()


def test_a_head_that_ended_by_itself_is_named_with_its_status(process):
    process.communicate()
    assert Head("127.0.0.1:1", {"raylet": process}).lost().endswith("ended with status 0")


def test_a_joined_head_is_lost_when_it_has_not_answered_for_a_while():
    clock = [0.0]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        head = Head(address, {}, now=lambda: clock[0])
        clock[0] = 1000.0
        assert head.lost() == ""
    for _ in range(int(GONE_AFTER / PROBE_EVERY) - 1):
        clock[0] += PROBE_EVERY
        assert head.lost() == ""
    clock[0] += PROBE_EVERY
    assert head.lost() == f"Ray's head at {address} has not answered for 30 s"


def test_a_head_that_stays_stopped_is_lost_after_a_while_but_not_for_a_moment(process):
    clock = [0.0]
    head = Head("127.0.0.1:1", {"gcs_server": process}, now=lambda: clock[0])

    def looked(seconds: float) -> str:
        clock[0] += seconds
        return head.lost()

    os.kill(process.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    # This process was stopped too, and its clock has jumped.
    assert looked(1000.0) == ""
    os.kill(process.pid, signal.SIGCONT)
    os.waitid(os.P_PID, process.pid, os.WCONTINUED | os.WNOWAIT)
    assert looked(PROBE_EVERY) == ""
    os.kill(process.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    said = [looked(PROBE_EVERY) for _ in range(int(GONE_AFTER / PROBE_EVERY))]
    assert said[:-1] == [""] * (len(said) - 1)
    assert said[-1] == (
        f"Ray's gcs_server (process {process.pid}) has been stopped (as by SIGSTOP) for 30 s"
    )
    process.kill()


def test_what_a_lost_ray_left_behind_is_ended_and_nothing_else():
    mark = "RLAGENT_TEST_OF_A_MARK"
    marked = {**os.environ, mark: "this"}
    stopped = subprocess.Popen(WAITS, stdin=subprocess.PIPE, env=marked)
    other = subprocess.Popen(WAITS, stdin=subprocess.PIPE, env={**marked, mark: "another"})
    apart = subprocess.Popen(WAITS, stdin=subprocess.PIPE, env=marked, start_new_session=True)
    try:
        os.kill(stopped.pid, signal.SIGSTOP)
        assert end_marked(mark, "this") == [stopped.pid]
        assert stopped.wait(60) == -signal.SIGKILL
        assert (other.poll(), apart.poll()) == (None, None)
    finally:
        for process in (stopped, other, apart):
            process.kill()
            process.communicate()


def test_a_run_that_waits_for_a_lost_ray_for_ever_is_ended(process):
    ended, left = [], threading.Event()
    with LastResort(Head("127.0.0.1:1", {"raylet": process}), ended.append, left.set, seconds=0.01):
        process.communicate()
        assert left.wait(60)
    assert ended == [
        f"Ray's raylet (process {process.pid}) ended with status 0, and nothing can go on without "
        "it; the same command resumes from the newest checkpoint"
    ]


def test_a_run_that_ends_by_itself_is_left_alone(process):
    ended, left = [], threading.Event()
    resort = LastResort(Head("127.0.0.1:1", {"raylet": process}), ended.append, left.set)
    with resort:
        process.communicate()
    resort._thread.join(60)
    assert (ended, left.is_set()) == ([], False)


def test_a_ray_that_a_run_ends_itself_is_not_lost_however_long_that_takes(process):
    ended, left = [], threading.Event()
    head = Head("127.0.0.1:1", {"raylet": process})
    with LastResort(head, ended.append, left.set, seconds=0.0) as resort:
        resort.disarm()
        process.communicate()
        resort._thread.join(60)
        assert not resort._thread.is_alive()
    assert (ended, left.is_set()) == ([], False)


def test_the_clock_that_jumped_while_this_process_was_stopped_loses_no_head():
    # Of one that was joined; it answers again at once.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        now = time.monotonic()
        times = iter([now, now + 10_000, now + 10_001])
        head = Head(f"127.0.0.1:{listener.getsockname()[1]}", {}, now=lambda: next(times))
        assert (head.lost(), head.lost()) == ("", "")
