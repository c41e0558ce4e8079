"""Mirrors a run to W&B or TensorBoard, beside the run folder that always holds everything.

A mirror is a process of its own that reads the run folder (mirror_process.py). The driver only
starts it, signals when there is something new, and waits a bounded time at the end: whatever
happens in it, wandb.init included, training neither stops nor waits.
"""

import json
import logging
import os
import secrets
import signal
import string
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rlagent.base.redact import redact
from rlagent.config.schema import MonitorConfig
from rlagent.records.folder import RunFolder
from rlagent.records.wandb_access import wandb_access


@dataclass(frozen=True)
class RunInfo:
    """What a dashboard shows of a run beside its metrics."""

    # The trial's id: 8 hex digits.
    trial_id: str
    # Name on the dashboard, such as `gsm8k_react-1a2b3c4d`.
    name: str
    # Runs that belong together: the sweep, else the experiment.
    group: str
    # Words to filter by.
    tags: tuple[str, ...] = ()
    # LearnConfig as a dict.
    config: dict[str, Any] = field(default_factory=dict)
    # Numbers that follow from the configuration, such as experiences per step.
    derived: dict[str, Any] = field(default_factory=dict)
    # The checkpoint's step that this attempt starts from: later rows of earlier attempts are
    # superseded. 0: it starts over, all are. None: nothing is.
    resumed_from: int | None = None
    # Whether W&B samples CPU, memory and GPUs; costs a little of a small CPU.
    system_stats: bool = False
    # The metric that trials are compared by; its value becomes `objective` in W&B's summary.
    metric: str = ""
    # Fields that win over those of status.json at the end, where its driver could not write them.
    ending: dict[str, Any] = field(default_factory=dict)


class Mirror:
    """Where metrics go beside the run folder; by itself nowhere."""

    def start(self, info: RunInfo) -> None:
        """Begin; returns at once."""

    def log(self, rows: Sequence[dict[str, Any]]) -> None:
        """Rows were appended to the run folder; returns at once."""

    def finish(self, status: dict[str, Any]) -> str | None:
        """The run ended with this status, written to status.json before; returns where the
        mirror is (an address, a folder or a command), or None."""
        return None


class NoMirror(Mirror):
    """monitor=local: the run folder is all there is."""


def make_mirror(
    monitor: MonitorConfig,
    folder: RunFolder,
    notify: Callable[[str], None],
    finish_timeout: float = 30.0,
    init_timeout: float = 15.0,
) -> Mirror:
    """The mirror that monitor.type names.

    Args:
        monitor: The monitor group.
        folder: The run, with its current attempt begun.
        notify: Called, from another thread, with one line when something goes wrong, for the
            screen; the line is logged too. The same line comes once.
        finish_timeout: Seconds that `finish` may take.
        init_timeout: Seconds that W&B may take to answer before the run is kept offline; less
            than finish_timeout, so that a short run gets that far.

    Raises:
        ValueError: For a monitor.type that there is not.
    """
    if monitor.type == "local":
        return NoMirror()
    if monitor.type not in ("wandb", "tensorboard"):
        raise ValueError(f"monitor.type={monitor.type}: must be wandb, tensorboard or local")
    return ProcessMirror(monitor, folder, notify, finish_timeout, init_timeout)


class ProcessMirror(Mirror):
    """The driver's side of a mirror process."""

    def __init__(
        self,
        monitor: MonitorConfig,
        folder: RunFolder,
        notify: Callable[[str], None],
        finish_timeout: float,
        init_timeout: float,
    ) -> None:
        self.monitor = monitor
        self.folder = folder
        self.finish_timeout = finish_timeout
        self.init_timeout = init_timeout
        self._notify_line = notify
        self._told: set[str] = set()
        self._place: str | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._finishing = False
        self._label = {"wandb": "W&B", "tensorboard": "TensorBoard"}[monitor.type]

    def start(self, info: RunInfo) -> None:
        """Start the process. A failure to start is reported, not raised."""
        access = wandb_access(self.monitor.mode)
        if self.monitor.type == "wandb" and access.mode == "disabled":
            self._tell(f"W&B is off, because {access.why}")
            return
        try:
            self._start(info, access.mode)
        except OSError as error:
            self._tell(f"{self._label} mirror could not start: {error}")

    def _start(self, info: RunInfo, mode: str) -> None:
        attempt = self.folder.attempt() or self.folder.new_attempt()
        spec = {
            "kind": self.monitor.type,
            "folder": str(self.folder.path),
            "attempt": attempt.number,
            "mode": mode,
            "project": self.monitor.project,
            "entity": self.monitor.entity,
            "finish_timeout": self.finish_timeout,
            "init_timeout": self.init_timeout,
            "id": wandb_id(self.folder, info.trial_id) if self.monitor.type == "wandb" else None,
            **asdict(info),
            "config": redact(info.config),
            "derived": redact(info.derived),
        }
        spec_path = attempt.path / "mirror.json"
        spec_path.write_text(json.dumps(spec, indent=2, default=str), encoding="utf-8")
        with (attempt.logs / "mirror.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "rlagent.records.mirror_process", str(spec_path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                # Its own session: Ctrl+C goes to the driver, which lets the mirror finish.
                start_new_session=True,
            )
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()

    def log(self, rows: Sequence[dict[str, Any]]) -> None:
        """Say that there are new rows in the run folder."""
        if rows and self._process is not None:
            self._send(b"n")

    def finish(self, status: dict[str, Any]) -> str | None:
        """Let the mirror read the rest and the final status; wait at most `finish_timeout`."""
        if self._process is None:
            return None
        self._finishing = True
        assert self._process.stdin is not None
        # The end of its input shows it that the driver is done, or gone.
        self._process.stdin.close()
        try:
            self._process.wait(self.finish_timeout)
        except subprocess.TimeoutExpired:
            self._tell(
                f"{self._label} did not finish within {self.finish_timeout:.0f} s and was ended; "
                "the run folder holds every number"
            )
        self._kill_group()
        if self._reader is not None:
            self._reader.join(5.0)
        return self._place

    def _send(self, word: bytes) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            os.write(self._process.stdin.fileno(), word)
        except BlockingIOError:
            # The pipe is full of earlier words, and one is enough to make it look.
            return
        except BrokenPipeError:
            # It ended; _read reports why.
            return

    def _kill_group(self) -> None:
        """End the process and what it started (wandb's own service)."""
        assert self._process is not None
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        finally:
            self._process.wait()

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        """Take the events that the mirror prints, one JSON object per line."""
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if "place" in event:
                self._place = event["place"]
            if "problem" in event:
                self._tell(f"{self._label}: {event['problem']}")
        code = process.wait()
        if code and not self._finishing and not self._told:
            self._tell(f"{self._label} mirror ended with status {code}; see mirror.log")

    def _tell(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            logging.getLogger("rlagent.mirror").warning(line)
            self._notify_line(line)


def wandb_id(folder: RunFolder, trial_id: str) -> str:
    """The W&B run id of this run: made once, then the same in every attempt."""
    if folder.wandb_id_file.is_file():
        kept = folder.wandb_id_file.read_text().strip()
        if kept:
            return kept
    alphabet = string.ascii_lowercase + string.digits
    made = f"{trial_id}-{''.join(secrets.choice(alphabet) for _ in range(6))}"
    folder.make()
    folder.wandb_id_file.write_text(made + "\n")
    return made
