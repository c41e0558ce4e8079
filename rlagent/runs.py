"""`rlagent runs`: what has run here: runs and sweeps, their state, best metric, when and where.

Reads the folders only; a run that says it runs while its process is gone is shown as `died`.
"""

import argparse
import csv
import io
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rlagent.base.screen import lasting_streams
from rlagent.base.words import aligned, short_path
from rlagent.records.listing import Entry, best_text, entries

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
  started from   the run and step whose checkpoint it went on from (model.path=RUN@STEP)
"""


def table(found: Sequence[Entry]) -> str:
    """Aligned columns for a terminal."""
    heads = ["name", "state", "done", "best", "updated", "host", "folder"]
    rows = [heads, *(_row(entry) for entry in found)]
    if any(entry.parent for entry in found):
        starts = ["started from", *(entry.parent or "-" for entry in found)]
        rows = [[*row, start] for row, start in zip(rows, starts, strict=True)]
    return "\n".join(aligned(rows)) + "\n"


def _row(entry: Entry) -> list[str]:
    unit = "trials" if entry.kind == "sweep" else "steps"
    of = f"/{entry.asked}" if entry.asked else ""
    when = time.localtime(entry.updated) if entry.updated else None
    return [
        entry.name,
        entry.state,
        f"{entry.done}{of} {unit}",
        best_text(entry) or "-",
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


def _complain(line: str) -> None:
    print(f"rlagent runs: {line}", file=sys.stderr)


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
    found = entries(root, _complain)
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
