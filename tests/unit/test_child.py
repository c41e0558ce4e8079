"""A child process: what it has started ends with it."""

import select
import subprocess
import sys

import pytest

from rlagent.base.child import end_child, start_child

STARTS_ANOTHER = """
import subprocess, sys, time
other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(other.pid, flush=True)
if sys.argv[1] == "stays":
    time.sleep(600)
"""


@pytest.mark.parametrize("how", ["stays", "dies"])
def test_what_a_child_has_started_ends_with_it(how: str) -> None:
    command = [sys.executable, "-c", STARTS_ANOTHER, how]
    child = start_child(command, {}, subprocess.PIPE, subprocess.DEVNULL)
    assert child.stdout is not None
    child.stdout.readline()
    if how == "dies":
        child.wait()
    end_child(child, 30)
    # The end of what both write to: nobody holds it any more.
    ended, _, _ = select.select([child.stdout], [], [], 60)
    assert ended
    assert child.stdout.read() == b""
