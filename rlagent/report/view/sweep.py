"""The page of a sweep: its trials, curves and best command; each trial leads to its run's page."""

from rlagent.records.folder import RunFolder
from rlagent.records.sweep_store import RUNNING, is_dead
from rlagent.report.sweep_data import Measured, load_sweep, measured_in
from rlagent.report.sweep_page import sweep_values
from rlagent.report.view.home import read_sweep
from rlagent.report.view.site import Asked, Site

LIVE = 5
"""Seconds between two looks at a sweep that runs."""


def sweep(site: Site, asked: Asked) -> str:
    """The page of a sweep."""
    folder = site.sweep(asked.name)
    found = read_sweep(site, folder)
    runs = [folder.run_folder(row) for row in found.trials]
    files = [folder.sweep_json, *(f for run in runs for f in (run.status_json, run.metrics_jsonl))]

    def measured(run: RunFolder, metric: str) -> Measured:
        of_run = [run.status_json, run.metrics_jsonl]
        key = ("trial", run.path, metric)
        return site.memory.get(key, of_run, lambda: measured_in(run, metric))

    def page_of(run: RunFolder) -> str | None:
        is_here = run.path.parent == site.root and run.exists()
        return f"../run/{run.name}" if is_here else None

    def make() -> str:
        data = load_sweep(folder, measured=measured, page_of=page_of)
        return site.page(
            "sweep.html.j2",
            folder.name,
            [],
            **sweep_values(data),
            live=LIVE if data.state == RUNNING else 0,
        )

    # A launcher that died leaves its files as they were.
    died = found.state == RUNNING and is_dead(found)
    return site.memory.get(("sweep page", folder.path, died), files, make)
