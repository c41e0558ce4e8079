"""Signs of life: each role notes what it does, and one of its threads that it is still alive.

One small file per process in the attempt's folder, so that the driver sees roles of other nodes
too. A role whose file is no longer touched stands still as a whole: stopped, or in a call that
holds the interpreter. What follows is standstill.py's.
"""

import contextlib
import json
import os
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path

BEAT = 5.0
"""Seconds between two signs of life."""

STILL = 6 * BEAT
"""Seconds without one after which a role stands still."""

FOLDER = "alive"

_beats: "dict[int, _Beats]" = {}


@dataclass(frozen=True)
class Sign:
    """What a role has last said of itself; times are unix seconds."""

    role: str
    pid: int
    host: str
    # What it does, such as `training step 3`, and since when.
    doing: str
    since: float
    # When it last lived.
    alive: float

    @property
    def is_here(self) -> bool:
        """Whether its process is one of this machine."""
        return self.host == socket.gethostname()


def start(role: str, doing: str) -> None:
    """Give signs of life from now on; without TRINITY_LOG_DIR, as in a test, there is no run."""
    logs = os.environ.get("TRINITY_LOG_DIR")
    if logs and os.getpid() not in _beats:
        beats = _Beats(role, folder_of(Path(logs)))
        _beats[os.getpid()] = beats
        beats.say(doing)
        threading.Thread(target=beats.go_on, name="signs of life", daemon=True).start()


def doing(what: str) -> None:
    """Note what this process does from now on."""
    if os.getpid() in _beats:
        _beats[os.getpid()].say(what)


def folder_of(logs: Path) -> Path:
    """Where the signs of an attempt are, given the folder of its logs."""
    return logs.parent / FOLDER


def signs(logs: Path) -> list[Sign]:
    """The signs of all roles of an attempt, given the folder of its logs."""
    found = []
    for path in sorted(folder_of(logs).glob("*.json")):
        # Of a process that has just been replaced, or just writes.
        with contextlib.suppress(OSError, ValueError, TypeError):
            said = json.loads(path.read_text(encoding="utf-8"))
            found.append(Sign(**said, alive=path.stat().st_mtime))
    return found


class _Beats:
    def __init__(self, role: str, folder: Path) -> None:
        self.role = role
        self.host = socket.gethostname()
        self.path = folder / f"{role}-{self.host}-{os.getpid()}.json"
        self._lock = threading.Lock()

    def say(self, doing: str) -> None:
        sign = {"role": self.role, "pid": os.getpid(), "host": self.host}
        text = json.dumps({**sign, "doing": doing, "since": time.time()})
        fresh = self.path.with_suffix(".new")
        # What cannot be written, as on a full disk, is missed only when the run stands still.
        with self._lock, contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_text(text, encoding="utf-8")
            os.replace(fresh, self.path)

    def go_on(self) -> None:
        while True:
            time.sleep(BEAT)
            with contextlib.suppress(OSError):
                os.utime(self.path)
