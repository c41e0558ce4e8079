"""Which role stands still when nothing happens any more: since when, at what, with which stack.

From the signs of life (alive.py) and what this machine says of its processes. When a run counts as
standing still is decided here too; looking for it is session.py's.
"""

import contextlib
import logging
import math
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from rlagent.base.alive import STILL, Sign, signs
from rlagent.base.words import duration
from rlagent.config.schema import AUTO

LEAST = 300.0
"""Least seconds without a sign of progress that `run.stall_timeout=auto` means."""

FIRST = 1800.0
"""The same until the length of a step is known: models are loaded and compiled meanwhile."""

STEPS = 20
"""Lengths of the longest step or evaluation so far that it means at least."""

MOST_STACKS = 8

STOPPED = ("T", "t")
"""States of a process that was stopped by a signal or a debugger."""

_LOG = logging.getLogger("rlagent")


def patience(asked: float | str, longest: float, rollout_timeout: float) -> tuple[float, float]:
    """Seconds without a sign of progress after which a run fails.

    Args:
        asked: run.stall_timeout.
        longest: Seconds of the longest step or evaluation so far; 0 before it is known.
        rollout_timeout: workflow.timeout; rollouts that hang are no standstill.

    Returns:
        Where a role stands still as a whole, and where none does.

    >>> patience(60.0, 3.0, 600.0), patience("auto", 0.0, 600.0)
    ((60.0, 60.0), (300.0, 1800.0))
    >>> patience("auto", 2.0, 60.0), patience("auto", 100.0, 600.0)
    ((300.0, 300.0), (2000.0, 2000.0))
    """
    if not isinstance(asked, str):
        return float(asked), float(asked)
    assert asked == AUTO
    least = max(LEAST, STEPS * longest)
    return least, max(least, 2 * rollout_timeout + 60) if longest else FIRST


def seconds_since_change(logs: Path, now: float) -> float:
    """Seconds since any role began what it does now; infinite where none gives signs of life."""
    return max(0.0, now - max((sign.since for sign in signs(logs)), default=-math.inf))


def is_stuck(logs: Path, now: float) -> bool:
    """Whether a role that is not replaced stands still.

    Not a runner: the explorer ends one when the time of its rollouts is over (watchdog.py), which
    is longer than `LEAST`.
    """
    return any(sign.role != "runner" for sign in standing_still(logs, now))


def standing_still(logs: Path, now: float) -> list[Sign]:
    """Roles that have given no sign of life for `STILL` seconds, and other stopped processes."""
    known = [sign for sign in signs(logs) if state_of(sign) not in ("", "Z", "X")]
    still = [sign for sign in known if now - sign.alive > STILL or state_of(sign) in STOPPED]
    here = {sign.pid: sign.role for sign in known if sign.is_here}
    return still + _stopped(logs, here)


def _stopped(logs: Path, known: Mapping[int, str]) -> list[Sign]:
    """Stopped processes of a run's Ray that give no signs: its own, and Trinity's synchronizer; not
    what agent code has started.

    Args:
        logs: Folder of the attempt's logs.
        known: Role by process id of those that give signs.
    """
    found = []
    runners = {pid for pid, role in known.items() if role == "runner"}
    for process in psutil.process_iter():
        # Those that are gone meanwhile, or another user's.
        with contextlib.suppress(psutil.Error):
            stopped = process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
            if not stopped or process.pid in known:
                continue
            if not runners.isdisjoint(parent.pid for parent in process.parents()):
                continue
            if process.environ().get("TRINITY_LOG_DIR") == str(logs):
                title = (process.cmdline() or [process.name()])[0]
                found.append(Sign(titled(title), process.pid, socket.gethostname(), "", 0.0, 0.0))
    return found


def titled(title: str) -> str:
    """The role of a process of Ray by the first word of its command line.

    >>> titled("ray::synchronizer:Synchronizer.sync"), titled("/.venv/lib/ray/gcs_server")
    ('Synchronizer', 'gcs_server')
    """
    if title.startswith("ray::"):
        return title.split(".")[0].split(":")[-1]
    return Path(title).name


def state_of(sign: Sign) -> str:
    """The state of a process, as /proc has it; empty where it is gone, ? on another machine."""
    if not sign.is_here:
        return "?"
    try:
        text = Path(f"/proc/{sign.pid}/stat").read_text()
    except OSError:
        return ""
    return text[text.rindex(")") + 2]


def words(waiting: Sequence[str], quiet: float, logs: Path, key: str) -> str:
    """Say in one line which roles stand still, or else what each of those waited for does.

    Args:
        waiting: Roles whose results are waited for.
        quiet: Seconds since anything happened.
        logs: Folder of the attempt's logs.
        key: The setting that ended the wait, as written.
    """
    now = time.time()
    still = standing_still(logs, now)
    head = f"nothing has happened for {duration(quiet)} ({key})"
    if still:
        return f"{head}: " + "; ".join(_still(sign) for sign in still[:3])
    there = {sign.role: sign for sign in signs(logs) if state_of(sign)}
    busy = [
        f"the {role} has been {there[role].doing} for {duration(now - there[role].since)}"
        for role in waiting
        if role in there
    ]
    waited = f" while waiting for the {' and the '.join(waiting)}"
    return f"{head}{waited}" + (": " + ", ".join(busy) if busy else "")


def _still(sign: Sign) -> str:
    how = {
        "T": "is stopped (state T, as by SIGSTOP)",
        "t": "is stopped by a debugger (state t)",
        "D": "waits for a disk or a device (state D)",
        "?": f"on {sign.host} gives no sign of life",
    }.get(state_of(sign), "gives no sign of life")
    since = time.strftime(" since %H:%M:%S", time.localtime(sign.alive)) if sign.alive else ""
    at = f", while {sign.doing}" if sign.doing else ""
    return f"the {sign.role} stands still{since}{at}: its process {sign.pid} {how}"


def log_stacks(logs: Path) -> None:
    """Write the stacks of what stands still, or else of every role here, to the driver's log."""
    everyone = [sign for sign in signs(logs) if sign.is_here and state_of(sign)]
    still = [sign for sign in standing_still(logs, time.time()) if sign.is_here]
    for sign in (still or everyone)[:MOST_STACKS]:
        title = f"{sign.role}, process {sign.pid}, state {state_of(sign)}, {sign.doing}"
        _LOG.error("stack of the %s:\n%s", title, stack_of(sign.pid, state_of(sign) in STOPPED))


def stack_of(pid: int, stopped: bool = False) -> str:
    """The Python stack of another process, or why it cannot be had."""
    beside = Path(sys.executable).with_name("py-spy")
    program = str(beside) if os.access(beside, os.X_OK) else shutil.which("py-spy")
    if program is None:
        return "py-spy, which Ray brings, is not there to read it"
    # One that is stopped already cannot be paused.
    command = [program, "dump", *(["--nonblocking"] if stopped else []), "--pid", str(pid)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"it could not be read: {error}"
    return done.stdout if done.returncode == 0 else f"it could not be read: {done.stderr.strip()}"
