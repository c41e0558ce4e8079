"""Makes report.html, a picture, Markdown and CSV of a run or a sweep: `python -m rlagent.report`.

Everything comes from the files of the folder; nothing is asked of the network.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rlagent.base.screen import lasting_streams
from rlagent.base.words import short_path
from rlagent.records.files import DamagedError, write_atomically
from rlagent.records.find import find_any
from rlagent.records.folder import RunFolder, RunNotFoundError
from rlagent.records.sweep_store import SweepFolder

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


@lasting_streams()
def main(argv: Sequence[str] | None = None) -> int:
    """The command; 0 when the report was made, 1 when what it is made from is damaged, 2 when
    there is no such run or sweep, or no place for it."""
    parser = argparse.ArgumentParser(
        prog="rlagent report",
        description="Make a report of a run or a sweep: numbers, curves, conversations, trials.",
    )
    parser.add_argument(
        "run", nargs="?", default="latest", help="run or sweep: its folder, name or id, or `latest`"
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
        folder = find_any(asked.run, asked.root)
    except RunNotFoundError as error:
        print(f"rlagent report: {error}", file=sys.stderr)
        return 2
    if asked.out and (problem := _no_place(asked.out)):
        print(f"rlagent report: --out={asked.out}: {problem}", file=sys.stderr)
        return 2
    try:
        if asked.format in ("markdown", "csv"):
            return _print_text(_text(folder, asked.format), asked.out)
        for path in _write(folder, asked.format, asked.out):
            print(short_path(path))
    except DamagedError as error:
        print(f"rlagent report: {error}", file=sys.stderr)
        return 1
    return 0


def _no_place(out: Path) -> str:
    """Make the folder that a file goes into; returns why it cannot be written there, if so."""
    if out.is_dir():
        return f"is a folder; name a file, such as {out / 'report.html'}"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"its folder cannot be made ({error.strerror}); name a file in another one"
    if not os.access(out.parent, os.W_OK):
        return "its folder may not be written to; name a file in another one"
    return ""


def _write(folder: RunFolder | SweepFolder, form: str | None, out: Path | None) -> list[Path]:
    """Write the files of a format; without one and without a place, the page and the picture."""
    from rlagent.report import sweep

    if isinstance(folder, SweepFolder):
        page, picture = folder.report_html, folder.path / sweep.PNG
        if form == "png":
            return [sweep.write_sweep_png(folder, out or picture)]
        pages = [sweep.write_sweep_html(folder, out or page, _complain)]
        return pages if form or out else [*pages, sweep.write_sweep_png(folder, picture)]
    if form is None and out is None:
        return write_report(folder)
    if form == "png":
        return [write_png(folder, out or folder.reward_png)]
    return [write_html(folder, out or folder.report_html)]


def _complain(line: str) -> None:
    print(f"rlagent report: {line}", file=sys.stderr)


def _text(folder: RunFolder | SweepFolder, form: str) -> str:
    if isinstance(folder, SweepFolder):
        from rlagent.report.sweep import sweep_text

        return sweep_text(folder, form)
    from rlagent.report.data import load
    from rlagent.report.text import csv_text, markdown

    data = load(folder, conversations=False)
    return markdown(data) if form == "markdown" else csv_text(data)


def _print_text(text: str, out: Path | None) -> int:
    if out is not None:
        write_atomically(out, text)
        print(short_path(out))
        return 0
    sys.stdout.write(text)
    return 0
