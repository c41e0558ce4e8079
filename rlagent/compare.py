"""`rlagent compare A B`: is B better than A, with what certainty, and where did it get worse?

Reads records only; the work is report/comparison.py's.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rlagent.base.screen import lasting_streams
from rlagent.base.words import short_path
from rlagent.records.files import DamagedError, write_atomically
from rlagent.records.folder import RunNotFoundError

EPILOG = """\
A and B are runs (folder, name, id or `latest`) or evaluations (RUN/NAME, or their folder). A run is
measured on each dataset by its newest evaluation that the others have too, else by the last one of
its training.
Exit status: 0 compared; 1 something cannot be read; 2 there is no such run.
"""


@lasting_streams()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="rlagent compare",
        description="Compare runs or evaluations: settings, measures, and task by task.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sides", nargs="+", metavar="RUN", help="two or more; the first is A")
    parser.add_argument(
        "--format",
        choices=("text", "html", "markdown", "csv"),
        default="text",
        help="html writes a page with both conversations of what changed (text)",
    )
    parser.add_argument("--to", type=Path, help="file of the page (comparison.html)")
    parser.add_argument("--root", default="outputs", help="where run folders are (outputs)")
    asked = parser.parse_args(sys.argv[1:] if argv is None else list(argv))
    if len(asked.sides) < 2:
        parser.error("one run alone has nothing to be compared with: name two or more")
    from rlagent.report.comparison import compare, resolve_side
    from rlagent.report.comparison_text import csv_text, markdown, terminal

    try:
        found = compare([resolve_side(side, Path(asked.root)) for side in asked.sides])
        if asked.format == "html":
            from rlagent.report.comparison_page import page

            target = asked.to or Path("comparison.html")
            write_atomically(target, page(found))
            print(f"written: {short_path(target)}")
            return 0
    except RunNotFoundError as error:
        print(f"rlagent compare: {error}", file=sys.stderr)
        return 2
    except (DamagedError, OSError) as error:
        print(f"rlagent compare: {error}", file=sys.stderr)
        return 1
    made = {"text": terminal, "markdown": markdown, "csv": csv_text}[asked.format]
    sys.stdout.write(made(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
