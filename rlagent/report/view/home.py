"""The first page: runs and sweeps with their state, the last updated first, with filters."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rlagent.base.words import duration
from rlagent.records.folder import RunFolder
from rlagent.records.listing import (
    Entry,
    best_success,
    best_text,
    entries,
    run_entry,
    sweep_entry,
)
from rlagent.records.sweep_store import Sweep, SweepFolder
from rlagent.report.view.site import BARE, Asked, Site, address

PAGE = 100
"""Entries of one page."""

LIVE, IDLE = 5, 15
"""Seconds between two looks at a list in which something runs, and in which nothing does."""

GOING = ("running", "starting")


@dataclass(frozen=True)
class Row:
    """An entry as shown."""

    entry: Entry
    address: str
    done: str
    best: str
    when: str


def home(site: Site, asked: Asked) -> str:
    """The page of everything in the folder."""
    said: list[str] = []
    sweeps: dict[str, Sweep] = {}

    def of_sweep(folder: SweepFolder) -> Entry:
        sweep = read_sweep(site, folder)
        sweeps[folder.name] = sweep
        return sweep_entry(folder, sweep)

    # The best success needs the metrics of a run, so it is looked up for what is shown only.
    everything = entries(
        site.root, said.append, lambda run: run_entry(run, lambda _: None), of_sweep
    )
    trials = {
        trial.folder.rpartition("/")[2] for sweep in sweeps.values() for trial in sweep.trials
    }
    shown = [entry for entry in everything if matches(entry, asked, trials)]
    first = min(asked.whole("from"), max(0, len(shown) - 1)) // PAGE * PAGE
    rows = [_row(site, entry) for entry in shown[first : first + PAGE]]
    states = Counter(entry.state for entry in everything)
    return site.page(
        "view_home.html.j2",
        str(site.root),
        [],
        asked=asked,
        rows=rows,
        counts=f"{_several(shown, 'run')}, {_several(shown, 'sweep')}",
        bare=address("run", BARE, "evaluations") if site.evaluations(BARE) else "",
        hidden=sum(entry.kind == "run" and entry.name in trials for entry in everything),
        nothing=not everything,
        states=sorted(states),
        said=said,
        earlier=asked.changed(**{"from": first - PAGE}) if first >= PAGE else "",
        later=asked.changed(**{"from": first + PAGE}) if first + PAGE < len(shown) else "",
        live=LIVE if any(states[state] for state in GOING) else IDLE,
    )


def matches(entry: Entry, asked: Asked, trials: Sequence[str] | set[str] = ()) -> bool:
    """Whether an entry is asked for.

    Args:
        entry: A run or a sweep.
        asked: `q` (a part of the name), `kind`, `state`, and `trials` (`1`: those of sweeps too).
        trials: Names of the runs that are trials of a sweep.
    """
    is_trial = entry.kind == "run" and entry.name in trials
    return (
        asked.text("q").lower() in entry.name.lower()
        and asked.text("kind") in ("", entry.kind)
        and asked.text("state") in ("", entry.state)
        and (not is_trial or bool(asked.text("trials")))
    )


def read_sweep(site: Site, folder: SweepFolder) -> Sweep:
    """A sweep as last written."""
    return site.memory.get(("sweep", folder.path), [folder.sweep_json], folder.read)


def _row(site: Site, entry: Entry) -> Row:
    if entry.kind == "run" and entry.metric:
        folder = RunFolder(entry.folder)
        found = site.memory.get(
            ("best", folder.path), [folder.metrics_jsonl], lambda: best_success(folder)
        )
        entry = replace(
            entry, best=max((v for v in (found, entry.best) if v is not None), default=None)
        )
    unit = "trials" if entry.kind == "sweep" else "steps"
    done = f"{entry.done} of {entry.asked}" if entry.asked else str(entry.done)
    return Row(
        entry,
        address(entry.kind, entry.name),
        f"{done} {unit}",
        best_text(entry),
        ago(entry.updated),
    )


def ago(when: float | None, now: Callable[[], float] = time.time) -> str:
    """How long ago something was; '' where that is not known.

    >>> ago(1000.0, lambda: 1090.0), ago(0.0, lambda: 400_000.0)
    ('1 min 30 s ago', '4 days ago')
    """
    if when is None:
        return ""
    seconds = now() - when
    return f"{seconds // 86400:.0f} days ago" if seconds > 2 * 86400 else f"{duration(seconds)} ago"


def _several(found: Sequence[Entry], kind: str) -> str:
    count = sum(entry.kind == kind for entry in found)
    return f"{count} {kind}" + ("" if count == 1 else "s")
