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
    "half a step's rollouts": _halve(lambda f: min(f.rollouts.path.glob("train-*.jsonl.gz"))),
    "status.json holds a list": lambda f: void(f.status_json.write_text(json.dumps([1]))),
}


# ---- disks: each a small one of its own; needs the right to mount one ----


class CannotBreakError(Exception):
    """This machine or user cannot make the fault, such as a mount that needs root."""


def _command(*words: str) -> str:
    try:
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout
    except subprocess.CalledProcessError as error:
        raise CannotBreakError(error.stderr.strip() or str(error)) from error
    except OSError as error:
        raise CannotBreakError(f"{words[0]}: {error}") from error


@contextlib.contextmanager
def _small_disk(directory: Path) -> Iterator[None]:
    """A file system of 24 MiB at the run.dir."""
    outputs = directory / "outputs"
    outputs.mkdir(parents=True, exist_ok=True)
    _command("mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(outputs))
    try:
        yield
    finally:
        _command("umount", "--lazy", str(outputs))


@contextlib.contextmanager
def _failing_disk(directory: Path) -> Iterator[None]:
    """A disk at the run.dir that goes read-only at its first error, as servers' disks do.

    A remount does not do it: the kernel refuses one while a file is open for writing.
    """
    outputs, image = directory / "outputs", directory / "disk.img"
    outputs.mkdir(parents=True, exist_ok=True)
    with image.open("wb") as file:
        file.truncate(200 * 2**20)
    _command("mkfs.ext4", "-q", "-F", str(image))
    _mount_failing(outputs)
    try:
        yield
    finally:
        _command("umount", "--lazy", str(outputs))


def _mount_failing(outputs: Path) -> None:
    options = "loop,errors=remount-ro"
    _command("mount", "-o", options, str(outputs.parent / "disk.img"), str(outputs))


def _break_disk(run: Training) -> None:
    device = _command("findmnt", "-no", "SOURCE", str(run.directory / "outputs")).strip()
    try:
        Path("/sys/fs/ext4", Path(device).name, "trigger_fs_error").write_text("1")
    except OSError as error:
        raise CannotBreakError(str(error)) from error


def _mend_disk(run: Training) -> None:
    """Mount it again, which replays its journal; what was in no file yet is lost."""
    outputs = run.directory / "outputs"
    _command("umount", str(outputs))
    _mount_failing(outputs)


def _fill(run: Training) -> None:
    """Leave a few KiB."""
    assert run.folder is not None
    with contextlib.suppress(OSError), (run.directory / "outputs" / "ballast").open("wb") as file:
        while True:
            file.write(bytes(4096))
            file.flush()


def _make_room(run: Training) -> None:
    outputs = run.directory / "outputs"
    _command("mount", "-o", "remount,size=200m", str(outputs))
    (outputs / "ballast").unlink(missing_ok=True)


REPAIRS: dict[str, Callable[[Training], None]] = {
    "disk full": _make_room,
    "disk read-only": _mend_disk,
}
"""What is done before the same command is run again."""


def cases() -> list[Case]:
    """All of them, the most telling first."""
    found = [
        Case(
            f"{word} {role}",
            "training",
            _send(role, number),
            # Ray lets an actor end its calls after SIGTERM; one of the queue's waits for ever.
            overrides=FROZEN if (word, role) == ("SIGTERM", "queue") or word == "SIGSTOP" else LONG,
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
    found.append(Case("disk read-only", "training", _break_disk, around=_failing_disk))
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
