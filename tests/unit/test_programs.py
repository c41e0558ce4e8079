"""What a rollout has started ends with it, wherever it has hidden."""

import os
import signal
import subprocess
import sys

from rlagent.base.process import start_ticks
from rlagent.base.programs import Program, end_programs

MARK = f"RLAGENT_TEST_MARK={os.getpid()}"

HIDES = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        os.close(1)
        time.sleep(600)
    os._exit(0)
"""


def marked() -> dict[str, str]:
    name, value = MARK.split("=")
    return {**os.environ, name: value}


def test_a_program_ends_with_what_it_has_started() -> None:
    program = subprocess.Popen(
        ["sh", "-c", "sleep 600 & echo $!; exec sleep 600"], stdout=subprocess.PIPE, text=True
    )
    child = int(program.stdout.readline())
    killed = end_programs([Program.of(program.pid)], [])
    assert set(killed) == {program.pid, child}
    assert program.wait() == -9
    assert start_ticks(child) is None


def test_one_that_left_its_parents_is_found_by_its_environment() -> None:
    program = subprocess.run(
        [sys.executable, "-c", HIDES], env=marked(), stdout=subprocess.PIPE, text=True, check=True
    )
    hidden = int(program.stdout)
    assert end_programs([], ["RLAGENT_TEST_MARK=another"]) == []
    assert start_ticks(hidden) is not None
    assert end_programs([], [MARK]) == [hidden]
    assert start_ticks(hidden) is None


def test_one_that_has_ended_is_not_taken_for_another_of_its_number() -> None:
    other = subprocess.Popen(["sleep", "600"])
    try:
        assert end_programs([Program(other.pid, 1), Program(other.pid, None)], []) == []
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_one_that_became_another_users_keeps_no_other_alive(monkeypatch) -> None:
    program = subprocess.Popen(
        ["sh", "-c", "sleep 600 & echo $!; exec sleep 600"], stdout=subprocess.PIPE, text=True
    )
    child = int(program.stdout.readline())
    foreign = start_ticks(child)
    really = signal.pidfd_send_signal

    def send(descriptor: int, number: int) -> None:
        with open(f"/proc/self/fdinfo/{descriptor}") as file:
            if f"Pid:\t{child}\n" in file.read():
                raise PermissionError
        really(descriptor, number)

    monkeypatch.setattr(signal, "pidfd_send_signal", send)
    try:
        assert end_programs([Program.of(program.pid)], []) == [program.pid]
        assert program.wait() == -9
        assert start_ticks(child) == foreign
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_process_that_has_the_mark_itself_does_not_end_itself() -> None:
    code = f"from rlagent.base.programs import end_programs; print(end_programs([], ['{MARK}']))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=marked(), stdout=subprocess.PIPE, text=True, check=True
    )
    assert done.stdout == "[]\n"
