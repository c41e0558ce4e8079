"""`rlagent runs`: what has run here: runs and sweeps, their state, best metric, when and where.

Reads the folders only; a run that says it runs while its process is gone is shown as `died`.
"""

import argparse
import csv
import io
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rlagent.base.screen import lasting_streams
from rlagent.base.words import aligned, number, percent, short_path
from rlagent.records.find import sweep_folders
from rlagent.records.folder import DIED, RunFolder, run_folders
from rlagent.records.sweep_store import FINISHED, PRUNED, RUNNING, SweepFolder

UNREADABLE = "unreadable"
METRIC = "eval/success"

COLUMNS = """\
columns:
  name       of the run's folder, or of the sweep's
  state      as it was last written; died: its process is gone and did not say why
  done       of a run the steps trained, of a sweep the trials finished or pruned
  best       of a run its highest evaluation after a step of training;
             of a sweep the objective of its best finished trial, which by default is the value
             of that trial's last evaluation, and so may be less than the trial's own best
  updated    when its status was last written
  host       where it ran
  folder     where it is
"""


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


def entries(root: Path) -> list[Entry]:
    """Everything below `root`, the last updated first."""
    found = [_guarded("run", folder.path, run_entry, folder) for folder in run_folders(root)]
    found += [_guarded("sweep", f.path, sweep_entry, f) for f in sweep_folders(root)]
    return sorted(found, key=lambda entry: entry.updated or 0.0, reverse=True)


def _guarded(kind: str, path: Path, make: Any, folder: Any) -> Entry:
    try:
        return make(folder)
    except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        # One broken file, shown as such, must not hide the others.
        print(f"rlagent runs: {short_path(path)}: {error}", file=sys.stderr)
        return Entry(kind, path.name, UNREADABLE, 0, None, None, "", None, None, "", str(path))


def run_entry(folder: RunFolder) -> Entry:
    """How a run stands."""
    status = folder.standing()
    return Entry(
        kind="run",
        name=folder.name,
        state=str(status.get("state", "unknown")),
        done=int(status.get("steps_trained") or 0),
        asked=status.get("steps_asked"),
        best=best_success(folder, status),
        metric=METRIC,
        started=status.get("started"),
        updated=status.get("updated"),
        host=str(status.get("host") or ""),
        folder=str(folder.path),
    )


def best_success(folder: RunFolder, status: dict[str, Any]) -> float | None:
    """The best held-out success after a step of training; None when it was measured after none."""
    trained = [row for row in folder.read_metrics("explorer") if row["step"] > 0]
    values = [row["metrics"].get(METRIC) for row in trained] + [status.get("success_after")]
    known = [value for value in values if isinstance(value, float) and math.isfinite(value)]
    return max(known, default=None)


def sweep_entry(folder: SweepFolder) -> Entry:
    """How a sweep stands."""
    sweep = folder.read()
    best = sweep.best()
    return Entry(
        kind="sweep",
        name=folder.name,
        state=DIED if sweep.state == RUNNING and folder.is_dead() else sweep.state,
        done=sum(row.state in (FINISHED, PRUNED) for row in sweep.trials),
        asked=len(sweep.trials),
        best=best.objective if best else None,
        metric=sweep.metric,
        started=sweep.started or None,
        updated=sweep.updated or None,
        host=sweep.host,
        folder=str(folder.path),
    )


def table(found: Sequence[Entry]) -> str:
    """Aligned columns for a terminal."""
    heads = ["name", "state", "done", "best", "updated", "host", "folder"]
    return "\n".join(aligned([heads, *(_row(entry) for entry in found)])) + "\n"


def _row(entry: Entry) -> list[str]:
    unit = "trials" if entry.kind == "sweep" else "steps"
    of = f"/{entry.asked}" if entry.asked else ""
    share = "success" in entry.metric
    best = "-"
    if entry.best is not None:
        best = percent(entry.best) if share else f"{entry.metric} {number(entry.best)}"
    when = time.localtime(entry.updated) if entry.updated else None
    return [
        entry.name,
        entry.state,
        f"{entry.done}{of} {unit}",
        best,
        time.strftime("%Y-%m-%d %H:%M", when) if when else "-",
        entry.host or "-",
        short_path(entry.folder),
    ]


def csv_text(found: Sequence[Entry]) -> str:
    """One row per entry."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(Entry.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(entry) for entry in found)
    return out.getvalue()


@lasting_streams()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, also when nothing has run yet, and 2 without such a folder."""
    parser = argparse.ArgumentParser(
        prog="rlagent runs",
        description="What has run here: runs and sweeps, the newest first.",
        epilog=COLUMNS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--root", default="outputs", help="where run folders are (outputs)")
    parser.add_argument("--format", choices=("table", "csv", "json"), default="table")
    asked = parser.parse_args(sys.argv[1:] if argv is None else list(argv))
    root = Path(asked.root)
    if not root.is_dir():
        print(f"rlagent runs: there is no folder {root}; --root names another", file=sys.stderr)
        return 2
    found = entries(root)
    if asked.format == "json":
        text = json.dumps([asdict(entry) for entry in found], indent=2) + "\n"
    elif asked.format == "csv":
        text = csv_text(found)
    else:
        text = table(found) if found else f"nothing has run in {root}/ yet\n"
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
