"""What a sweep shows while it runs: a live table on a terminal, plain lines elsewhere."""

import functools
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, TextIO

from rlagent.base.screen import lasting
from rlagent.base.words import duration, number, short_path
from rlagent.records.sweep_store import FAILED, FINISHED, RUNNING, WAITING, Sweep, TrialRow
from rlagent.report.sweep_names import without_secret
from rlagent.sweep.child import Child

ROWS = 40
"""Most rows of the live table: more than a screen holds would flicker."""

_STYLES = {
    RUNNING: "cyan",
    FINISHED: "green",
    FAILED: "bold red",
    WAITING: "dim",
}


class SweepDisplay(Protocol):
    """What the pool reports to."""

    def message(self, line: str) -> None:
        """Something to say for good."""

    def started(self, row: TrialRow, resumed: bool, log: Path) -> None:
        """A trial was started."""

    def update(self, sweep: Sweep, running: Iterable[Child]) -> None:
        """How things stand; called on every tick."""

    def ended(self, row: TrialRow, again: bool = False) -> None:
        """A trial ended; `again`: it is tried once more."""

    def close(self) -> None:
        """Nothing more comes."""


def make_display(setting: str, stream: TextIO | None = None) -> SweepDisplay:
    """The display that run.display names: auto, live, plain or none."""
    stream = lasting(stream or sys.stdout)
    if setting == "auto":
        dumb = os.environ.get("TERM") == "dumb"
        setting = "live" if stream.isatty() and not dumb else "plain"
    if setting == "live":
        return LiveTable(stream)
    return PlainLines(stream, silent=setting == "none")


class PlainLines:
    """One line per event: a start, a tenth of the way, a wait, an end."""

    def __init__(self, stream: TextIO, silent: bool = False) -> None:
        self._stream, self._silent = stream, silent
        self._tenths: dict[str, int] = {}
        self._waits: set[str] = set()

    def message(self, line: str) -> None:
        """Print a line."""
        if not self._silent:
            print(line, file=self._stream, flush=True)

    def started(self, row: TrialRow, resumed: bool, log: Path) -> None:
        """Print what starts, and where it prints to."""
        self.message(f"{started_words(row, resumed)}; log {short_path(log)}")

    def update(self, sweep: Sweep, running: Iterable[Child]) -> None:
        """Print trials that have come a tenth further, and new reasons to wait."""
        for child in running:
            progress, name = child.progress, child.trial.trial_id
            tenth = 10 * progress.step // max(1, progress.total_steps)
            if progress.step and tenth > self._tenths.get(name, 0):
                self._tenths[name] = tenth
                self.message(f"{label(child.row)}: {progress.line(progress.step, time.time())}")
        # Said once: how much is free changes all the time.
        waiting = [row for row in sweep.trials if row.state == WAITING and row.waits_for]
        new = [row for row in waiting if row.trial_id not in self._waits]
        self._waits.update(row.trial_id for row in new)
        if new:
            more = len(new) - 1
            others = f", and {more} more wait{'s' if more == 1 else ''}" if more else ""
            self.message(f"{label(new[0])} waits for {new[0].waits_for}{others}")

    def ended(self, row: TrialRow, again: bool = False) -> None:
        """Print how it ended."""
        self.message(ended_words(row, again))

    def close(self) -> None:
        """Nothing to take away."""


class LiveTable:
    """A table that is redrawn in place; what is said for good scrolls above it."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=stream, highlight=False)
        self._sweep: Sweep | None = None
        self._children: dict[str, Child] = {}
        self._live = Live(
            console=self._console, get_renderable=self._render, refresh_per_second=2, transient=True
        )
        self._live.start()

    def message(self, line: str) -> None:
        """Print a line above the table."""
        self._console.print(line, markup=False, soft_wrap=True)

    def started(self, row: TrialRow, resumed: bool, log: Path) -> None:
        """The table shows it."""

    def update(self, sweep: Sweep, running: Iterable[Child]) -> None:
        """Take what the next drawing shows."""
        self._sweep = sweep
        # Those that ended stay, for the step and the reward that they came to.
        self._children.update({child.trial.trial_id: child for child in running})

    def ended(self, row: TrialRow, again: bool = False) -> None:
        """Print a failure for good; the table shows the rest."""
        if row.state == FAILED:
            self.message(ended_words(row, again))

    def close(self) -> None:
        """Take the table away."""
        self._live.stop()

    def _render(self) -> Any:
        from rich.text import Text

        if self._sweep is None:
            return Text("planning")
        return table(self._sweep, self._children, time.time())


def table(sweep: Sweep, children: dict[str, Child], now: float) -> Any:
    """The trials as a rich table.

    Args:
        sweep: The sweep.
        children: Trials that run or have run, by id.
        now: Unix seconds.
    """
    from rich.table import Table
    from rich.text import Text

    ended = sum(row.state not in (RUNNING, WAITING) for row in sweep.trials)
    failed = sum(row.state == FAILED for row in sweep.trials)
    title = f"{sweep.name}: {ended} of {len(sweep.trials)} trials ended"
    title = f"{title}, {failed} failed" if failed else title
    # As Text, like the cells: what stands in brackets is not meant as rich's markup.
    grid = Table(title=Text(title, style="table.title"), title_justify="left")
    for name in ("trial", "overrides", "state", "step", "reward", "time left", "GPUs"):
        grid.add_column(name, overflow="fold" if name == "overrides" else "ellipsis")
    order = sorted(sweep.trials, key=lambda row: (_rank(row), row.number))
    for row in sorted(order[:ROWS], key=lambda row: row.number):
        grid.add_row(
            *(Text(cell) for cell in cells(row, children.get(row.trial_id), now)),
            style=_STYLES.get(row.state, ""),
        )
    if len(order) > ROWS:
        grid.caption = f"and {len(order) - ROWS} more"
    return grid


def cells(row: TrialRow, child: Child | None, now: float) -> list[str]:
    """One row of the table: trial, overrides, state, step, reward, time left, GPUs."""
    step = reward = left = ""
    state = row.state
    if child is not None:
        progress = child.progress
        step = f"{progress.step}/{progress.total_steps}"
        reward = "" if progress.reward is None else f"{progress.reward:.3f}"
        seconds = progress.seconds_left(now) if row.state == RUNNING else None
        left = "" if seconds is None else duration(seconds)
    if row.state == WAITING and row.waits_for:
        state = f"waits for {row.waits_for}"
    if row.failure:
        state = f"{row.state}: {row.failure}"
    gpus = ",".join(str(gpu) for gpu in row.gpus)
    return [str(row.number + 1), _shown(row), state, step, reward, left, gpus]


def label(row: TrialRow) -> str:
    """A trial in a line: its number from 1 and what sets it apart."""
    return f"trial {row.number + 1} ({_shown(row) or 'no value differs'})"


def started_words(row: TrialRow, resumed: bool) -> str:
    """One line about a trial that starts."""
    text = f"{label(row)} {'resumes' if resumed else 'starts'}"
    if row.gpus:
        text += f" on GPU{'' if len(row.gpus) == 1 else 's'} {', '.join(map(str, row.gpus))}"
    return text


def ended_words(row: TrialRow, again: bool = False) -> str:
    """One line about a trial that ended."""
    text = f"{label(row)} {row.state}"
    if row.started and row.ended:
        text += f" after {duration(row.ended - row.started)}"
    if row.objective is not None:
        text += f", objective {number(row.objective)}"
    if row.cause:
        text += f": {f'{row.failure}: ' if row.failure else ''}{row.cause}"
    return f"{text}; it is tried again" if again else text


_without_secret = functools.lru_cache(maxsize=4096)(without_secret)
"""Kept, since it parses: the table is drawn twice a second."""


def _shown(row: TrialRow) -> str:
    """What sets a trial apart, without secrets: the lines of a sweep end up in logs."""
    return " ".join(_without_secret(override) for override in row.overrides)


def _rank(row: TrialRow) -> int:
    """Which rows a table too long for the screen shows first."""
    return {RUNNING: 0, FAILED: 1, WAITING: 2}.get(row.state, 3)
