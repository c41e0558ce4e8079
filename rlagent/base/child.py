"""A child process that ends with this one, however this one ends."""

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import IO

_PR_SET_PDEATHSIG = 1


def start_child(
    command: Sequence[str],
    environment: Mapping[str, str],
    output: IO[bytes] | int | None,
    errors: IO[bytes] | int | None,
) -> "subprocess.Popen[bytes]":
    """Start a process that gets SIGTERM when this one is gone.

    Ctrl+C in a terminal is for this process alone, which then ends the child.

    Args:
        command: The program and its arguments.
        environment: Its environment.
        output: Where its output goes; None: where this process's goes.
        errors: Likewise, what it says of errors.
    """
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
        start_new_session=True,
        preexec_fn=_die_with_parent,
    )


def end_child(child: "subprocess.Popen[bytes]", seconds: float) -> int:
    """Ask a child to end, and after `seconds` end it by force; returns its exit status.

    What it has started ends with it, also where it died without ending them.
    """
    if child.poll() is None:
        child.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    return child.wait()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
