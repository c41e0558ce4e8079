"""The table's cases: what is broken, in which role or file, and at which moment."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.run import ROLES, Training
from rlagent.records.checkpoints import LATEST_CHECKPOINT
from rlagent.records.folder import RunFolder

SIGNALS = {
    "kill -9": signal.SIGKILL,
    "SIGSTOP": signal.SIGSTOP,
    "SIGTERM": signal.SIGTERM,
    "SIGINT": signal.SIGINT,
    "SIGHUP": signal.SIGHUP,
}
STEPS = 3
LONG = ("algorithm.total_steps=50",)
"""Enough steps that a fault hits the run while it trains, whatever its moment."""
FROZEN = (*LONG, "run.stall_timeout=60")
"""Otherwise a role that stands still is noticed after five minutes; a busy machine starts a run in
less than one."""


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    # `fault, role or file`; unique with the moment.
    fault: str
    # starting, training, resuming or throughout.
    moment: str
    # Breaks a run that has come to the moment; None: what `overrides` name is the fault.
    inject: Callable[[Training], None] | None = None
    overrides: tuple[str, ...] = LONG
    # Prepares the folder before anything starts, and tidies up.
    around: Callable[[Path], contextlib.AbstractContextManager[None]] | None = None
    # Whether what it prints goes to a pipe whose reader goes away.
    piped: bool = False
    # Whether the same command is run again, to see what it resumes.
    resumes: bool = True

    @property
    def name(self) -> str:
        """By which it is selected."""
        return f"{self.fault} @ {self.moment}"


def _send(role: str, number: signal.Signals) -> Callable[[Training], None]:
    def inject(run: Training) -> None:
        os.kill(run.pid(role), number)

    return inject


def _pause(run: Training) -> None:
    """What nobody is there to notice: the driver stands still, and goes on."""
    os.kill(run.pid("driver"), signal.SIGSTOP)
    time.sleep(10)
    os.kill(run.pid("driver"), signal.SIGCONT)
    run.until(lambda: run.saved() > 1)
    os.kill(run.pid("driver"), signal.SIGTERM)


# ---- files: of a run that has trained one step, and is resumed ----


def _damage(change: Callable[[RunFolder], None]) -> Callable[[Training], None]:
    def inject(run: Training) -> None:
        assert run.folder is not None
        change(run.folder)

    return inject


def _newest(folder: RunFolder) -> Path:
    return max(folder.checkpoints.glob("global_step_*"), key=lambda p: int(p.name.split("_")[-1]))


def _write(path: Callable[[RunFolder], Path], text: str) -> Callable[[RunFolder], None]:
    return lambda folder: void(path(folder).write_text(text))


def _halve(path: Callable[[RunFolder], Path]) -> Callable[[RunFolder], None]:
    return lambda folder: os.truncate(path(folder), path(folder).stat().st_size // 2)


def void(_: object) -> None:
    """Nothing is returned."""


FILES: dict[str, Callable[[RunFolder], None]] = {
    "manifest of another type": _write(lambda f: _newest(f) / "manifest.json", "[]"),
    "half manifest": _halve(lambda f: _newest(f) / "manifest.json"),
    "half weights": _halve(lambda f: _newest(f) / "actor" / "model.safetensors"),
    "latest_checkpointed_iteration names step 9": _write(
        lambda f: f.checkpoints / LATEST_CHECKPOINT, "9"
    ),
    "empty latest_checkpointed_iteration": _write(lambda f: f.checkpoints / LATEST_CHECKPOINT, ""),
    "newest checkpoint removed": lambda f: shutil.rmtree(_newest(f)),
    "half explorer_meta.json": _halve(lambda f: f.checkpoints / "explorer_meta.json"),
    "half status.json": _halve(lambda f: f.status_json),
    "half record.json": _halve(lambda f: f.path / "record.json"),
    "half metrics.jsonl": _halve(lambda f: f.metrics_jsonl),
    "half trajectories.jsonl": _halve(lambda f: f.trajectories_jsonl),
    "status.json holds a list": lambda f: void(f.status_json.write_text(json.dumps([1]))),
}


# ---- disks: each a small one of its own ----


@contextlib.contextmanager
def _small_disk(directory: Path) -> Iterator[None]:
    """A file system of 24 MiB at the run.dir; needs the right to mount one."""
    outputs = directory / "outputs"
    outputs.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(outputs)],
        check=True,
        capture_output=True,
    )
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(outputs)], check=True)


def _remount(options: str) -> Callable[[Training], None]:
    def inject(run: Training) -> None:
        where = str(run.directory / "outputs")
        subprocess.run(["mount", "-o", f"remount,{options}", where], check=True)

    return inject


def _fill(run: Training) -> None:
    """Leave a few KiB."""
    assert run.folder is not None
    with contextlib.suppress(OSError), (run.directory / "outputs" / "ballast").open("wb") as file:
        while True:
            file.write(bytes(4096))
            file.flush()


def _make_room(run: Training) -> None:
    _remount("rw,size=200m")(run)
    (run.directory / "outputs" / "ballast").unlink(missing_ok=True)


REPAIRS: dict[str, Callable[[Training], None]] = {
    "disk full": _make_room,
    "disk read-only": _remount("rw"),
}
"""What is done before the same command is run again."""


def cases() -> list[Case]:
    """All of them, the most telling first."""
    found = [
        Case(
            f"{word} {role}",
            "training",
            _send(role, number),
            overrides=FROZEN if word == "SIGSTOP" else LONG,
        )
        for word, number in SIGNALS.items()
        for role in ("driver", *ROLES)
        if (word, role) != ("SIGSTOP", "driver")
    ]
    found.append(Case("SIGSTOP driver", "training", _pause))
    found += [
        Case(f"{word} driver", "starting", _send("driver", SIGNALS[word]))
        for word in ("kill -9", "SIGTERM", "SIGINT", "SIGHUP")
    ]
    found += [
        Case(f"kill -9 {role}", "starting", _send(role, signal.SIGKILL))
        for role in ("trainer", "explorer", "engine", "gcs", "raylet")
    ]
    found.append(Case("closed pipe (`| head -1`)", "throughout", piped=True, overrides=_steps(1)))
    found.append(Case("disk full", "training", _fill, around=_small_disk))
    found.append(Case("disk read-only", "training", _remount("ro"), around=_small_disk))
    found += [
        Case(what, "resuming", _damage(change), overrides=_steps(STEPS - 1))
        for what, change in FILES.items()
    ]
    found += [
        Case(
            f"workflow {name}",
            "throughout",
            overrides=(
                *_steps(1),
                f"workflow.function=benchmarks.faults.workflows:{name}",
                "workflow.timeout=5",
            ),
            resumes=False,
        )
        for name in (
            "raises",
            "cancels",
            "exits",
            "ends_its_process",
            "hangs",
            "blocks",
            "spins",
            "forks",
        )
    ]
    return found


def _steps(number: int) -> tuple[str, ...]:
    return (f"algorithm.total_steps={number}",)
