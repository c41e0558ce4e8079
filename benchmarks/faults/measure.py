"""Runs one case and says in one row what became of it."""

import contextlib
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.cases import REPAIRS, CannotBreakError, Case
from benchmarks.faults.run import Training
from rlagent.records.folder import ENDED

CAUSE = 400
"""Characters of a cause that are shown."""


@dataclass(frozen=True)
class Row:
    """What became of a run."""

    fault: str
    moment: str
    # From the fault to the final status; None when there was none in time.
    noticed_s: float | None
    # state and exit status.
    status: str
    cause: str
    # Processes still there 15 s after the end.
    left_over: str
    # The checkpoint's step that the same command went on from, and how it ended.
    resumed: str


def measure(case: Case, directory: Path, patience: float = 120.0, resume: bool = True) -> Row:
    """Run a case in a folder of its own, which is emptied before.

    Args:
        case: Which one.
        directory: Short, since Ray's sockets lie below no such, but checkpoints do.
        patience: Seconds that each part of it may take.
        resume: Whether to run the same command again.
    """
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    try:
        with case.around(directory) if case.around else contextlib.nullcontext():
            if case.moment == "resuming":
                return _damaged(case, directory, patience)
            return _broken(case, directory, patience, resume and case.resumes)
    except CannotBreakError as error:
        return Row(case.fault, case.moment, None, "not tried", str(error)[:CAUSE], "", "")


def _broken(case: Case, directory: Path, patience: float, resume: bool) -> Row:
    with Training(directory, *case.overrides, patience=patience) as run:
        run.start(_one_line_reader(run.output) if case.piped else None)
        role = case.fault.rsplit(" ", 1)[-1]
        came = True
        if case.moment == "starting":
            came = run.until(lambda: run.pid("gcs") if role == "driver" else run.pid(role))
        elif case.moment == "training":
            came = run.until(lambda: run.saved() >= 1)
        if not came:
            return _row(case, run, None, "the moment never came: " + _tail(run.output), "")
        broken = time.time()
        if case.inject:
            case.inject(run)
        ended = run.end()
        saved = run.saved()
        row = _row(case, run, ended - broken if ended else None, "", "")
    if not resume or row.status.startswith("finished"):
        return row
    return Row(**{**vars(row), "resumed": _resumed(case, directory, patience, saved)})


def _damaged(case: Case, directory: Path, patience: float) -> Row:
    """A file is damaged between two commands; the second is looked at."""
    with Training(directory, *case.overrides, patience=patience) as before:
        before.start()
        before.end()
        saved = before.saved()
        assert case.inject is not None
        case.inject(before)
    more = f"algorithm.total_steps={saved + 1}"
    with Training(directory, *case.overrides, more, patience=patience) as run:
        began = time.time()
        run.output.unlink()
        run.start()
        ended = run.end()
        text = run.output.read_text(errors="replace")
        said = [line for line in text.splitlines() if "damaged" in line or "the newest" in line]
        row = _row(case, run, ended - began if ended else None, " ".join(said), "")
    return Row(**{**vars(row), "resumed": f"{saved} -> {_went_on(text)}"})


def _resumed(case: Case, directory: Path, patience: float, saved: int) -> str:
    """Run the same command again, for one step more than is saved."""
    more = f"algorithm.total_steps={saved + 1}"
    with Training(directory, *case.overrides, more, patience=patience) as run:
        if case.fault in REPAIRS:
            REPAIRS[case.fault](run)
        run.output.write_text("")
        run.start()
        run.end()
        return f"{saved} -> {_went_on(run.output.read_text(errors='replace'))}" + (
            "" if run.status().get("state") == "finished" else f" ({run.status().get('cause')})"
        )


def _went_on(text: str) -> str:
    marks = [line for line in text.splitlines() if "resuming from the checkpoint of step" in line]
    return marks[-1].rsplit(" ", 1)[-1] if marks else "0"


def _row(case: Case, run: Training, noticed: float | None, cause: str, resumed: str) -> Row:
    status = run.status()
    state = str(status.get("state") or "no status")
    if run.has_ended():
        assert run.process is not None
        code: object = run.process.returncode
    else:
        code = "still running"
    left = run.left_over() if run.has_ended() else []
    shown = status.get("cause")
    if state not in ENDED and code == 1:
        # No final status could be written; the screen has the cause.
        shown = _last_line(run.output)
    words = " ".join(f"{cause} {shown or ''}".split())
    return Row(
        case.fault,
        case.moment,
        None if noticed is None else round(noticed, 1),
        f"{state if state in ENDED else f'still says {state}'} ({code})",
        words if len(words) <= CAUSE else words[: CAUSE - 3] + "...",
        ", ".join(sorted(set(left))),
        resumed,
    )


def _tail(path: Path) -> str:
    return " ".join(path.read_text(errors="replace").split()[-30:])


def _last_line(path: Path) -> str:
    return next(filter(str.strip, reversed(path.read_text(errors="replace").splitlines())), "")


def _one_line_reader(output: Path) -> int:
    """The writing end of a pipe of which somebody reads one line."""
    reading, writing = os.pipe()
    with output.open("wb") as log:
        subprocess.Popen(["head", "-1"], stdin=reading, stdout=log)
    os.close(reading)
    return writing
