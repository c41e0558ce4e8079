"""Makes report.html, reward.png, Markdown and CSV from a run folder: `python -m rlagent.report`.

Everything comes from the files of the run; nothing is asked of the network.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rlagent.run.folder import RunFolder, RunNotFoundError, find_run, write_atomically
from rlagent.run.words import short_path

FORMATS = ("html", "markdown", "csv", "png")


def write_report(folder: RunFolder) -> list[Path]:
    """Write report.html and reward.png into the run folder; returns both paths.

    Raises:
        OSError: When they cannot be written.
    """
    return [write_html(folder, folder.report_html), write_png(folder, folder.reward_png)]


def write_html(folder: RunFolder, path: Path) -> Path:
    """Write the self-contained page."""
    from rlagent.report.data import load
    from rlagent.report.page import page

    write_atomically(path, page(load(folder)))
    return path


def write_png(folder: RunFolder, path: Path) -> Path:
    """Write the picture of the curve, 1200 x 600 pixels."""
    from rlagent.report.data import load
    from rlagent.report.picture import draw

    draw(load(folder, conversations=False), path)
    return path


def main(argv: Sequence[str] | None = None) -> int:
    """The command; 0 when the report was made, 2 when there is no such run."""
    parser = argparse.ArgumentParser(
        prog="rlagent report",
        description="Make a report from a run folder: numbers, curves, conversations.",
    )
    parser.add_argument(
        "run", nargs="?", default="latest", help="run folder, its name, trial id, or `latest`"
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="html and png write a file; markdown and csv print; without it: html and png",
    )
    parser.add_argument("--out", type=Path, help="file to write to instead")
    parser.add_argument("--root", default="outputs", help="where run folders are (outputs)")
    asked = parser.parse_args(sys.argv[1:] if argv is None else list(argv))
    try:
        folder = find_run(asked.run, asked.root)
    except RunNotFoundError as error:
        print(f"rlagent report: {error}", file=sys.stderr)
        return 2
    if asked.format is None and asked.out is None:
        paths = write_report(folder)
    elif asked.format in ("markdown", "csv"):
        return _print_text(folder, asked.format, asked.out)
    elif asked.format == "png":
        paths = [write_png(folder, asked.out or folder.reward_png)]
    else:
        paths = [write_html(folder, asked.out or folder.report_html)]
    for path in paths:
        print(short_path(path))
    return 0


def _print_text(folder: RunFolder, form: str, out: Path | None) -> int:
    from rlagent.report.data import load
    from rlagent.report.text import csv_text, markdown

    data = load(folder, conversations=False)
    text = markdown(data) if form == "markdown" else csv_text(data)
    if out is not None:
        write_atomically(out, text)
        print(short_path(out))
        return 0
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough; closing stderr too keeps Python quiet.
        sys.stderr.close()
    return 0
