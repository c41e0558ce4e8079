"""The run folder: where each file of a run is, and how it is written and read back.

Actors and driver append to it from several processes at once; everything that a person or a
monitor sees is made from it. What the numbers mean is left to stats.py and the writers.
"""

import functools
import json
import os
import socket
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlagent.base import process
from rlagent.records.files import (
    append_row,
    end_torn_line,
    plain,
    read_object,
    read_rows,
    write_atomically,
    written_at,
)
from rlagent.records.rollouts import RolloutStore

ENDED = ("finished", "failed", "stopped", "interrupted")
"""States of status.json that a run does not leave without a new attempt."""

DIED = "died"
"""Instead of the state that status.json has, where its driver ended without a final status: killed,
or ended by Ray itself, which does so when its head is lost."""


class RunNotFoundError(Exception):
    """No run, or more than one, answers to the given name; the message says which there are."""


@dataclass(frozen=True)
class Attempt:
    """One try at a run: a number from 1 up, and a folder of its own for logs."""

    number: int
    path: Path

    @property
    def logs(self) -> Path:
        """Folder for the log files of Ray, Trinity and the actors."""
        return self.path / "logs"

    @property
    def driver_log(self) -> Path:
        """What the driver logged in this attempt."""
        return self.path / "driver.log"


class RunFolder:
    """Paths, atomic writes and tolerant reads of one run folder.

    Cheap to make in every process that has something to write; nothing is created before the
    first write.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    # ---- where things are ----

    @property
    def name(self) -> str:
        """`{run.name}-{trial id}`."""
        return self.path.name

    @property
    def config_yaml(self) -> Path:
        """The resolved LearnConfig."""
        return self.path / "config.yaml"

    @property
    def trinity_yaml(self) -> Path:
        """The configuration handed to Trinity."""
        return self.path / "trinity.yaml"

    @property
    def status_json(self) -> Path:
        """State, cause, steps and success of the run; always whole."""
        return self.path / "status.json"

    @property
    def metrics_jsonl(self) -> Path:
        """One JSON row per role and step, in the order written."""
        return self.path / "metrics.jsonl"

    @functools.cached_property
    def rollouts(self) -> RolloutStore:
        """Every rollout of the run; the few that earlier versions kept are read too."""
        return RolloutStore(self.path / "rollouts", older=self.path / "trajectories.jsonl")

    @property
    def report_html(self) -> Path:
        """The report that a browser shows."""
        return self.path / "report.html"

    @property
    def reward_png(self) -> Path:
        """The picture of the curve."""
        return self.path / "reward.png"

    @property
    def attempts(self) -> Path:
        """Folder of the attempts, named 1, 2, ..."""
        return self.path / "attempts"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def wandb_dir(self) -> Path:
        """Where W&B keeps its own files for this run."""
        return self.path / "wandb"

    @property
    def wandb_id_file(self) -> Path:
        """Holds the W&B run id, so that a resume continues the same W&B run."""
        return self.path / "wandb_id"

    @property
    def tensorboard_dir(self) -> Path:
        """Where TensorBoard event files go."""
        return self.path / "tensorboard"

    @property
    def stop_file(self) -> Path:
        """Exists while someone has asked the run to stop."""
        return self.path / "stop_requested"

    def make(self) -> None:
        """Create the folder where there is none, open to its owner only: it holds conversations
        and tasks. A stricter umask counts too."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def exists(self) -> bool:
        """Whether a run has written its status here."""
        return self.status_json.is_file()

    # ---- attempts ----

    def attempt_numbers(self) -> list[int]:
        """The attempts so far, ascending."""
        if not self.attempts.is_dir():
            return []
        return sorted(int(p.name) for p in self.attempts.iterdir() if p.name.isdigit())

    def attempt(self) -> Attempt | None:
        """The newest attempt; None before the first."""
        numbers = self.attempt_numbers()
        return Attempt(numbers[-1], self.attempts / str(numbers[-1])) if numbers else None

    def new_attempt(self) -> Attempt:
        """Start the next attempt: makes its folder, forgets old stop requests, mends torn files.

        Raises:
            OSError: When the folder cannot be written.
        """
        last = self.attempt()
        number = last.number + 1 if last else 1
        attempt = Attempt(number, self.attempts / str(number))
        attempt.logs.mkdir(parents=True)
        self.clear_stop()
        end_torn_line(self.metrics_jsonl)
        # What an attempt that was killed left open.
        self.rollouts.seal()
        return attempt

    # ---- status ----

    def write_status(self, **fields: Any) -> dict[str, Any]:
        """Merge fields into status.json, atomically, and return the whole status.

        With `pid`, the start time and host of that process are recorded beside it, so that
        another shell can tell it from a later process of the same number.

        Raises:
            OSError: When it cannot be written; the old file is then still whole.
        """
        if "pid" in fields:
            pid = fields["pid"]
            fields.setdefault("pid_ticks", process.start_ticks(pid) if pid else None)
            fields.setdefault("host", socket.gethostname())
        status = {**self.read_status(), **fields, "updated": time.time()}
        self.make()
        self._write_status(status)
        return status

    def let_go(self) -> None:
        """Name no driver in status.json any more; the file keeps its time.

        Otherwise the page, which is written in between, would seem older than the status.
        """
        when = self.status_json.stat().st_mtime_ns
        self._write_status({**self.read_status(), "pid": None, "pid_ticks": None})
        os.utime(self.status_json, ns=(when, when))

    def _write_status(self, status: dict[str, Any]) -> None:
        text = json.dumps(plain(status), indent=2, allow_nan=False) + "\n"
        write_atomically(self.status_json, text)

    def read_status(self) -> dict[str, Any]:
        """The status as last written; empty before the first write.

        Raises:
            DamagedError: It holds something else.
        """
        remedy = "the same command goes on from the newest checkpoint and writes it again"
        return read_object(self.status_json, remedy) or {}

    def driver_alive(self) -> bool:
        """Whether the driver recorded in status.json still runs on this machine."""
        return is_driven(self.read_status())

    def standing(self) -> dict[str, Any]:
        """The status as it is: with the state `DIED` where the driver ended without a final one.

        Of a driver on another machine only what it last wrote is known.
        """
        status = self.read_status()
        if _has_ended(status) or _is_elsewhere(status) or is_driven(status):
            return status
        # It may have written its final status between the two looks.
        status = self.read_status()
        return status if _has_ended(status) else {**status, "state": DIED}

    # ---- stop requests ----

    def request_stop(self, reason: str = "") -> None:
        """Ask the driver to save and end; the reason, if any, is shown when the run ends."""
        self.stop_file.write_text(f"{reason}\n")

    def stop_requested(self) -> bool:
        """Whether someone asked this run to stop."""
        return self.stop_file.exists()

    def stop_reason(self) -> str:
        """Why the newest attempt was asked to stop; empty when it was not, or none was given."""
        try:
            return self.stop_file.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return ""

    def clear_stop(self) -> None:
        """Forget a stop request."""
        self.stop_file.unlink(missing_ok=True)

    # ---- metrics ----

    def append_metrics(
        self, role: str, step: int, metrics: dict[str, Any], attempt: int | None = None
    ) -> None:
        """Append one row to metrics.jsonl in one write; safe from several processes.

        Args:
            role: explorer, trainer or driver.
            step: The step that the numbers belong to; 0 is before training.
            metrics: Numbers by name; values that are no numbers raise.
            attempt: The attempt; the newest on disk when left out.

        Raises:
            OSError: When it cannot be written, as on a full disk.
        """
        if attempt is None:
            newest = self.attempt()
            attempt = newest.number if newest else 1
        row = {
            "role": role,
            "step": int(step),
            "attempt": attempt,
            "time": round(time.time(), 3),
            "metrics": {name: float(value) for name, value in metrics.items()},
        }
        append_row(self.metrics_jsonl, row)

    def read_metrics(
        self, role: str | None = None, names: Collection[str] = ()
    ) -> list[dict[str, Any]]:
        """Rows of metrics.jsonl, one per (role, step), by step; what a resume repeated is merged.

        See `rlagent.base.stats.merge_rows` for the rule.

        Args:
            role: explorer, trainer or driver; None for all.
            names: Read these metrics only, which is much faster; none: all.
        """
        from rlagent.base.stats import merge_rows

        holding = [f'"{name}"' for name in names]
        rows = [_with_floats(row, names) for row in read_rows(self.metrics_jsonl, holding)]
        return merge_rows([row for row in rows if role is None or row["role"] == role])

    # ---- the newest run ----

    def point_latest(self) -> Path:
        """Make `latest` beside this folder point to it, atomically; returns the link."""
        link = self.path.parent / "latest"
        fresh = link.with_name(f".latest.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(self.path.name)
        os.replace(fresh, link)
        return link


def _has_ended(status: dict[str, Any]) -> bool:
    """Whether an attempt wrote its final status; also true before the first one began."""
    return status.get("state") in (None, *ENDED)


def _is_elsewhere(status: dict[str, Any]) -> bool:
    return status.get("host", socket.gethostname()) != socket.gethostname()


def is_driven(status: dict[str, Any]) -> bool:
    """Whether the process that a status names still runs on this machine."""
    pid = status.get("pid")
    if not pid or _is_elsewhere(status):
        return False
    return process.is_same(pid, status.get("pid_ticks"))


def find_run(text: str, root: str | os.PathLike[str] = "outputs") -> RunFolder:
    """The run that a person means: a folder, its name, its trial id, or `latest`.

    Args:
        text: As typed.
        root: Where run folders are.

    Raises:
        RunNotFoundError: None or several match; the message names the runs there are.
    """
    root = Path(root)
    for candidate in (Path(text), root / text):
        if candidate.is_dir():
            folder = RunFolder(candidate.resolve())
            if folder.exists():
                return folder
    folders = [folder.path for folder in run_folders(root)]
    matching = [p for p in folders if p.name.endswith(f"-{text}")]
    if len(matching) == 1:
        return RunFolder(matching[0])
    if matching:
        names = ", ".join(p.name for p in matching)
        raise RunNotFoundError(f"{text!r} means several runs: {names}; give the whole name")
    if not folders:
        raise RunNotFoundError(f"no run {text!r}: there are no runs in {root}/")
    names = ", ".join(p.name for p in folders[:8]) + (", ..." if len(folders) > 8 else "")
    raise RunNotFoundError(f"no run {text!r}; newest runs in {root}/: {names}")


def run_folders(root: Path) -> list[RunFolder]:
    """Run folders below `root`, the one written last first."""
    return [RunFolder(path) for path in folders_with("status.json", root)]


def folders_with(name: str, root: Path) -> list[Path]:
    """Folders in `root` that hold a file of this name, the one whose file was written last first.

    Each once, however many links, such as `latest`, lead to it. What vanishes meanwhile is left
    out.
    """
    if not root.is_dir():
        return []
    found: dict[Path, tuple[int, Path]] = {}
    for path in sorted(root.iterdir(), key=lambda each: (each.is_symlink(), each.name)):
        written = written_at(path / name)
        if written is not None:
            found.setdefault(path.resolve(), (written, path))
    newest = sorted(found.values(), key=lambda each: each[0], reverse=True)
    return [path for _, path in newest]


def _with_floats(row: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    """A metrics row whose numbers are floats again, 'NaN' and 'Infinity' included."""
    metrics = row["metrics"]
    kept = [name for name in names if name in metrics] if names else metrics
    return {**row, "metrics": {name: float(metrics[name]) for name in kept}}
