"""The command: runs the cases that are left, and writes the table after each."""

import argparse
import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.faults.cases import Case, cases
from benchmarks.faults.measure import Row, measure

HEADS = ("fault", "moment", "noticed after", "status (exit)", "cause", "left over", "resumed")


def main(argv: Sequence[str] | None = None) -> int:
    """Run; returns 1 when a run was left without its final status, or left a process behind."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.faults",
        description="Break a small run in each way, and tell what becomes of it. About a minute "
        "per case on two idle cores; a table that was cut off goes on where it was.",
    )
    parser.add_argument("--only", default="", help="a pattern of cases, such as 'SIGSTOP|disk'")
    parser.add_argument("--list", action="store_true", help="name the cases and stop")
    parser.add_argument("--out", type=Path, default=Path("outputs/faults.md"), help="the table")
    parser.add_argument(
        "--work", type=Path, default=Path("/tmp/rlagent-faults"), help="run folders"
    )
    parser.add_argument("--again", action="store_true", help="run also what the table has")
    parser.add_argument("--no-resume", action="store_true", help="do not run the command again")
    parser.add_argument("--patience", type=float, default=120.0, help="seconds of each part")
    asked = parser.parse_args(argv)
    chosen = [case for case in cases() if re.search(asked.only, case.name)]
    if asked.list:
        print("\n".join(case.name for case in chosen))
        return 0
    known = {} if asked.again else _known(asked.out.with_suffix(".jsonl"))
    for case in chosen:
        if case.name not in known:
            began = time.monotonic()
            place = asked.work.resolve() / re.sub(r"\W+", "-", case.name).strip("-")
            known[case.name] = measure(case, place, asked.patience, not asked.no_resume)
            _write(asked.out, known)
            print(f"{time.monotonic() - began:4.0f} s  {_line(known[case.name])}", flush=True)
    return int(any(is_bad(known[case.name], case) for case in chosen))


def is_bad(row: Row, case: Case) -> bool:
    """Whether something was lost, or left open."""
    silent = "no status" in row.status or "still" in row.status
    # Nobody can write the status of a driver that was killed, or to a disk that takes nothing.
    excused = case.fault.startswith(("kill -9 driver", "disk read-only"))
    return bool(row.left_over) or (silent and not excused)


def _known(path: Path) -> dict[str, Row]:
    if not path.is_file():
        return {}
    rows = [Row(**json.loads(line)) for line in path.read_text().splitlines()]
    return {f"{row.fault} @ {row.moment}": row for row in rows}


def _write(out: Path, rows: dict[str, Row]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(asdict(row)) for row in rows.values()]
    out.with_suffix(".jsonl").write_text("\n".join(lines) + "\n")
    out.write_text(table(list(rows.values())))


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = [f"| {' | '.join(HEADS)} |", "|" + " --- |" * len(HEADS)]
    return "\n".join([*lines, *map(_line, rows)]) + "\n"


def _line(row: Row) -> str:
    noticed = "never" if row.noticed_s is None else f"{row.noticed_s:.1f} s"
    cells = (
        row.fault,
        row.moment,
        noticed,
        row.status,
        row.cause,
        row.left_over or "nothing",
        row.resumed or "-",
    )
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    sys.exit(main())
