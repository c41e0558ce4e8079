"""What has run below a folder: runs and sweeps, how each stands, its best number.

Reads the folders only; a run that says it runs while its process is gone is listed as `died`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rlagent.base.words import number, percent, short_path
from rlagent.records.find import sweep_folders
from rlagent.records.folder import DIED, RunFolder, run_folders
from rlagent.records.parents import parent_name
from rlagent.records.sweep_store import FINISHED, PRUNED, RUNNING, Sweep, SweepFolder, is_dead

UNREADABLE = "unreadable"
METRIC = "eval/success"


@dataclass(frozen=True)
class Entry:
    """One run or sweep."""

    # run or sweep.
    kind: str
    name: str
    # The state as written; `died` when its process is gone, `unreadable` for a broken file.
    state: str
    # Steps trained of steps asked; of a sweep trials that finished or were pruned, of all.
    done: int
    asked: int | None
    # The best value of the metric that training has reached, of a sweep the best trial's objective,
    # and which metric that is; None before the first: what the untrained model can do does not
    # count.
    best: float | None
    metric: str
    # Unix times of the start and of the last status; None where not recorded.
    started: float | None
    updated: float | None
    # Where it ran, and its folder.
    host: str
    folder: str
    # Of a run, the checkpoint of another one that it started from, RUN@STEP; empty without one.
    parent: str = ""


def best_text(entry: Entry) -> str:
    """The best value as a person reads it; empty before the first."""
    if entry.best is None:
        return ""
    share = "success" in entry.metric
    return percent(entry.best) if share else f"{entry.metric} {number(entry.best)}"


def entries(
    root: Path,
    say: Callable[[str], None],
    of_run: Callable[[RunFolder], Entry] | None = None,
    of_sweep: Callable[[SweepFolder], Entry] | None = None,
) -> list[Entry]:
    """Everything below `root`, the last updated first.

    Args:
        root: Where run folders and sweep folders are.
        say: Told, in one line, of each whose files cannot be read; it is listed as `unreadable`.
        of_run: How a run stands; `run_entry` when left out.
        of_sweep: How a sweep stands; `sweep_entry` when left out.
    """
    runs, sweeps = of_run or run_entry, of_sweep or sweep_entry
    found = [_guarded("run", f.path, partial(runs, f), say) for f in run_folders(root)]
    found += [_guarded("sweep", f.path, partial(sweeps, f), say) for f in sweep_folders(root)]
    return sorted(found, key=lambda entry: entry.updated or 0.0, reverse=True)


def _guarded(kind: str, path: Path, make: Callable[[], Entry], say: Callable[[str], None]) -> Entry:
    try:
        return make()
    except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        # One broken file, shown as such, must not hide the others.
        say(f"{short_path(path)}: {error}")
        return Entry(kind, path.name, UNREADABLE, 0, None, None, "", None, None, "", str(path))


def run_entry(
    folder: RunFolder, success: Callable[[RunFolder], float | None] | None = None
) -> Entry:
    """How a run stands.

    Args:
        folder: The run.
        success: Its best held-out success; `best_success` when left out.
    """
    status = folder.standing()
    return Entry(
        kind="run",
        name=folder.name,
        state=str(status.get("state", "unknown")),
        done=int(status.get("steps_trained") or 0),
        asked=status.get("steps_asked"),
        best=_largest([(success or best_success)(folder), status.get("success_after")]),
        metric=METRIC,
        started=_time(status.get("started")),
        updated=_time(status.get("updated")),
        host=str(status.get("host") or ""),
        folder=str(folder.path),
        parent=parent_name(status.get("lineage")),
    )


def best_success(folder: RunFolder) -> float | None:
    """The best held-out success after a step of training; None when it was measured after none."""
    rows = folder.read_metrics("explorer", [METRIC])
    return _largest([row["metrics"].get(METRIC) for row in rows if row["step"] > 0])


def _largest(values: Sequence[Any]) -> float | None:
    known = [value for value in values if isinstance(value, float) and math.isfinite(value)]
    return max(known, default=None)


def _time(value: Any) -> float | None:
    """A Unix time; None where a file holds something else."""
    return value if isinstance(value, (int, float)) else None


def sweep_entry(folder: SweepFolder, sweep: Sweep | None = None) -> Entry:
    """How a sweep stands.

    Args:
        folder: The sweep.
        sweep: As it was last written; read when left out.
    """
    sweep = sweep or folder.read()
    best = sweep.best()
    return Entry(
        kind="sweep",
        name=folder.name,
        state=DIED if sweep.state == RUNNING and is_dead(sweep) else sweep.state,
        done=sum(row.state in (FINISHED, PRUNED) for row in sweep.trials),
        asked=len(sweep.trials),
        best=best.objective if best else None,
        metric=sweep.metric,
        started=sweep.started or None,
        updated=sweep.updated or None,
        host=sweep.host,
        folder=str(folder.path),
    )
