"""Makes the report of a sweep in each format, from its folder and its trials' run folders."""

from pathlib import Path

from rlagent.run.folder import write_atomically
from rlagent.sweep.store import SweepFolder

PNG = "curves.png"
"""Name of the picture in the sweep's folder."""


def write_sweep_report(folder: SweepFolder) -> None:
    """Write report.html into the sweep's folder.

    Raises:
        FileNotFoundError: There is no sweep.
        OSError: When it cannot be written.
    """
    write_sweep_html(folder, folder.report_html)


def write_sweep_html(folder: SweepFolder, path: Path) -> Path:
    """Write the self-contained page; its links lead from there to the trials' pages."""
    from rlagent.report.sweep_data import load_sweep
    from rlagent.report.sweep_page import sweep_page

    write_atomically(path, sweep_page(load_sweep(folder, path.parent)))
    return path


def write_sweep_png(folder: SweepFolder, path: Path) -> Path:
    """Write the picture of the learning curves."""
    from rlagent.report.sweep_data import load_sweep
    from rlagent.report.sweep_picture import draw_sweep

    draw_sweep(load_sweep(folder), path)
    return path


def sweep_text(folder: SweepFolder, form: str) -> str:
    """The report as `markdown` or `csv`."""
    from rlagent.report.sweep_data import load_sweep
    from rlagent.report.sweep_text import sweep_csv, sweep_markdown

    data = load_sweep(folder)
    return sweep_markdown(data) if form == "markdown" else sweep_csv(data)
