"""Makes the report of a sweep in each format, from its folder and its trials' run folders."""

from collections.abc import Callable
from pathlib import Path

from rlagent.records.files import write_atomically
from rlagent.records.sweep_store import SweepFolder

PNG = "curves.png"
"""Name of the picture in the sweep's folder."""


def write_sweep_report(folder: SweepFolder, say: Callable[[str], None]) -> None:
    """Write report.html into the sweep's folder; arguments and errors as for `write_sweep_html`."""
    write_sweep_html(folder, folder.report_html, say)


def write_sweep_html(folder: SweepFolder, path: Path, say: Callable[[str], None]) -> Path:
    """Write the self-contained page; its links lead from there to the trials' pages.

    Those of trials that ended without writing one are written too.

    Args:
        folder: The sweep's.
        path: Where to.
        say: Told, in one line, of each trial's page that could not be written.

    Raises:
        FileNotFoundError: There is no sweep.
        OSError: When the page of the sweep cannot be written.
    """
    from rlagent.report.sweep_data import load_sweep
    from rlagent.report.sweep_page import sweep_page
    from rlagent.report.trial_pages import write_trial_pages

    write_trial_pages(folder, say)
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
