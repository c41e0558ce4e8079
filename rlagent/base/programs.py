"""Ends programs with all that they have started, also what has left its parents behind.

Programs belong together when they inherit the same environment variable, or hold the same text in
their environment, such as a secret.
"""

import contextlib
import os
import select
import signal
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from rlagent.base.process import is_same, start_ticks

_MOST_LOOKS = 100
"""Of a program that starts others faster than they are stopped."""

_GONE = 5.0
"""Seconds within which what was killed is gone, unless its disk does not answer."""


@dataclass(frozen=True)
class Program:
    """A process, identified by its number and its start time, since numbers are reused."""

    pid: int
    ticks: int | None

    @classmethod
    def of(cls, pid: int) -> "Program":
        """The one that has that number now."""
        return cls(pid, start_ticks(pid))


def end_programs(started: Collection[Program], marks: Collection[str]) -> list[int]:
    """Kill programs, what they have started, and what has one of the marks in its environment.

    Each is stopped first, so that none starts another one while the others are looked for. Never
    this process, nor what another user runs.

    Returns:
        The process ids of those that were killed.
    """
    signs = [mark.encode() for mark in marks]
    # Descriptors, since a number may be another's by the time that it is signalled.
    stopped: dict[int, int] = {}
    for _ in range(_MOST_LOOKS):
        roots = {one.pid for one in started if one.ticks and is_same(one.pid, one.ticks)}
        new = _family(roots | set(stopped), signs) - set(stopped)
        if not new:
            break
        for pid in new:
            with contextlib.suppress(ProcessLookupError):
                stopped[pid] = os.pidfd_open(pid)
                _send(stopped[pid], signal.SIGSTOP)
    killed = {pid for pid, descriptor in stopped.items() if _send(descriptor, signal.SIGKILL)}
    until = time.monotonic() + _GONE
    for pid, descriptor in stopped.items():
        if pid in killed:
            waiting = select.poll()
            waiting.register(descriptor, select.POLLIN)
            waiting.poll(1000 * max(0.0, until - time.monotonic()))
        os.close(descriptor)
    return sorted(killed)


def _send(descriptor: int, number: signal.Signals) -> bool:
    """Signal a process; returns whether it is there, and this user's."""
    try:
        signal.pidfd_send_signal(descriptor, number)
    except (ProcessLookupError, PermissionError):
        # A program that became another user's, such as sudo, may not keep the others stopped.
        return False
    return True


def _family(roots: set[int], signs: list[bytes]) -> set[int]:
    """Those processes, their descendants, and whoever has one of the signs, with theirs."""
    parents: dict[int, int] = {}
    found = set()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        pid = int(folder.name)
        # Of another user, or gone meanwhile.
        with contextlib.suppress(OSError, ValueError):
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            if state in ("Z", "X"):
                continue
            parents[pid] = int(parent)
            if pid in roots or any(sign in (folder / "environ").read_bytes() for sign in signs):
                found.add(pid)
    children: dict[int, list[int]] = {}
    for pid, parent_pid in parents.items():
        children.setdefault(parent_pid, []).append(pid)
    waiting = list(found)
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child not in found:
                found.add(child)
                waiting.append(child)
    return found - {os.getpid()}
