"""The page of a sweep: its trials, curves and best command; each trial leads to its run's page."""

import time
from collections.abc import Callable, Sequence

from rlagent.base.stats import Series
from rlagent.records.folder import RunFolder
from rlagent.records.sweep_store import RUNNING, TrialRow, is_dead
from rlagent.report.importance import Importance, importance
from rlagent.report.sweep_data import Measured, load_sweep, measured_in
from rlagent.report.sweep_page import sweep_values
from rlagent.report.view.home import read_sweep
from rlagent.report.view.site import Asked, Site

LIVE = 5
"""Seconds between two looks at a sweep that runs."""

SECONDS = 0.4
"""That a page may read trials; the next looks, which follow by themselves, read those left."""

UNREAD: Measured = {
    "status": {},
    "metric": Series("", (), ()),
    "reward": Series("", (), ()),
    "step_s": None,
    "tokens_s": None,
}


class _LaterError(Exception):
    """The time for reading is over."""


def sweep(site: Site, asked: Asked, clock: Callable[[], float] = time.monotonic) -> str:
    """The page of a sweep."""
    folder = site.sweep(asked.name)
    found = read_sweep(site, folder)
    runs = [folder.run_folder(row) for row in found.trials]
    files = [folder.sweep_json, *(f for run in runs for f in (run.status_json, run.metrics_jsonl))]
    began, read, unread, unweighed = clock(), 0, 0, False

    def measured(run: RunFolder, metric: str) -> Measured:
        nonlocal unread

        def make() -> Measured:
            nonlocal read
            if clock() - began > SECONDS:
                raise _LaterError
            read += 1
            return measured_in(run, metric)

        try:
            of_run = [run.status_json, run.metrics_jsonl]
            return site.memory.get(("trial", run.path, metric), of_run, make)
        except _LaterError:
            unread += 1
            return UNREAD

    def page_of(run: RunFolder) -> str | None:
        is_here = run.path.parent == site.root and run.exists()
        return f"../run/{run.name}" if is_here else None

    def weigh(rows: Sequence[TrialRow], parameters: Sequence[str], direction: str) -> Importance:
        nonlocal unweighed
        # Optuna takes as long to import as a hundred trials to read.
        unweighed = bool(unread) or (bool(read) and clock() - began > SECONDS / 2)
        if unweighed:
            return Importance(note="Said when all trials are read.")
        return importance(rows, parameters, direction)

    def make() -> str:
        data = load_sweep(folder, measured=measured, page_of=page_of, weigh=weigh)
        values = sweep_values(data)
        live = LIVE if data.state == RUNNING else 0
        if unread:
            far = f"{len(runs) - unread} of {len(runs)} trials read so far, the others follow"
            values["about"] = [*values["about"], far]
        if unweighed:
            live = 1
        return site.page("sweep.html.j2", folder.name, [], **values, live=live)

    # A launcher that died leaves its files as they were.
    died = found.state == RUNNING and is_dead(found)
    key = ("sweep page", folder.path, died)
    return site.memory.get(key, files, make, lambda: not unweighed)
