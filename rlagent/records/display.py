"""Shows a run while it goes: live on a terminal, in plain lines elsewhere, or not at all.

Fed by the driver with metric rows; what the numbers mean is worked out in progress.py, what is
said at the end in summary.py.
"""

import os
import sys
import textwrap
import threading
import time
from collections.abc import Sequence
from typing import Any, TextIO

from rlagent.base.screen import lasting
from rlagent.base.texts import writable
from rlagent.base.words import duration
from rlagent.records.folder import RunFolder
from rlagent.records.progress import Evaluation, Progress
from rlagent.records.summary import summary_lines

MODES = ("auto", "live", "plain", "none")

BARS = "▁▂▃▄▅▆▇█"
"""The heights of a sparkline."""


class Display:
    """What the driver reports, with nothing shown: the kinds of display show what they
    say. Every method may be called from any thread."""

    def start(self, choices: Sequence[str], total_steps: int, first_step: int = 0) -> None:
        """Say what was chosen, then show progress from `first_step` to `total_steps`."""

    def phase(self, text: str) -> None:
        """Say what goes on before the first step, such as `starting Ray`."""

    def update(self, rows: Sequence[dict[str, Any]]) -> None:
        """Take new metric rows of this attempt."""

    def message(self, line: str) -> None:
        """Say one line for good, such as a warning."""

    def finish(
        self,
        status: dict[str, Any],
        folder: RunFolder,
        command: str | None = None,
        mirror: str | None = None,
    ) -> None:
        """Say how it ended. See `summary.next_lines` for `command`."""


def make_display(mode: str = "auto", stream: TextIO | None = None) -> Display:
    """The display that run.display names.

    Args:
        mode: auto (live on a terminal, else plain), live, plain or none.
        stream: Where to; standard output when left out.

    Raises:
        ValueError: For another mode.
    """
    stream = lasting(stream or sys.stdout)
    if mode not in MODES:
        raise ValueError(f"run.display={mode}: must be one of {', '.join(MODES)}")
    if mode == "none":
        return SilentDisplay()
    terminal = stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    # One that cannot show the curve gets lines.
    terminal = terminal and writable(BARS, stream) == BARS
    if mode == "live" or (mode == "auto" and terminal):
        return LiveDisplay(stream)
    return PlainDisplay(stream)


class SilentDisplay(Display):
    """Says nothing; the run folder has it all."""


class PlainDisplay(Display):
    """One line per step, evaluation and phase; for log files, pipes and CI."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._progress = Progress(total_steps=0)
        self._started = time.monotonic()

    def start(self, choices: Sequence[str], total_steps: int, first_step: int = 0) -> None:
        """Print the choices."""
        self._progress = Progress(total_steps, first_step)
        for line in choices:
            self.message(line)

    def phase(self, text: str) -> None:
        """Print the phase with the seconds since the start."""
        self.message(f"[{time.monotonic() - self._started:5.1f} s] {text}")

    def update(self, rows: Sequence[dict[str, Any]]) -> None:
        """Print a line for each evaluation and each trained step among the rows."""
        said: list[Evaluation | tuple[int, float]] = []
        for row in rows:
            measured = len(self._progress.evaluations)
            said += [(step, row["time"]) for step in self._progress.take([row])]
            said += self._progress.evaluations[measured:]
        # Once all rows are taken: those behind a step's own hold its speed.
        for one in said:
            if isinstance(one, Evaluation):
                self.message(evaluation_line(one))
            else:
                self.message(self._progress.line(*one))

    def message(self, line: str) -> None:
        """Print a line."""
        with self._lock:
            print(writable(line, self._stream), file=self._stream, flush=True)

    def finish(
        self,
        status: dict[str, Any],
        folder: RunFolder,
        command: str | None = None,
        mirror: str | None = None,
    ) -> None:
        """Print the summary."""
        self.message("\n".join(["", *summary_lines(status, folder, command, mirror)]))


class LiveDisplay(Display):
    """A few lines that are redrawn in place; what is said for good scrolls above them."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=stream, highlight=False, soft_wrap=False)
        self._progress = Progress(total_steps=0)
        self._phase = "starting"
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._live = Live(
            console=self._console,
            get_renderable=self._render,
            refresh_per_second=2,
            transient=True,
        )
        self._running = False

    def start(self, choices: Sequence[str], total_steps: int, first_step: int = 0) -> None:
        """Print the choices and begin to draw."""
        self._progress = Progress(total_steps, first_step)
        for line in choices:
            self.message(textwrap.fill(line, self._console.width, subsequent_indent="  "))
        self._live.start()
        self._running = True

    def phase(self, text: str) -> None:
        """Show the phase until the first step is trained."""
        with self._lock:
            self._phase = text

    def update(self, rows: Sequence[dict[str, Any]]) -> None:
        """Take the rows; evaluations are also printed for good."""
        with self._lock:
            measured = len(self._progress.evaluations)
            self._progress.take(rows)
            found = self._progress.evaluations[measured:]
        for one in found:
            self.message(evaluation_line(one))

    def message(self, line: str) -> None:
        """Print a line above the live part."""
        self._console.print(writable(line, self._console.file), markup=False, soft_wrap=True)

    def finish(
        self,
        status: dict[str, Any],
        folder: RunFolder,
        command: str | None = None,
        mirror: str | None = None,
    ) -> None:
        """Take the live part away and print the summary."""
        if self._running:
            self._live.stop()
            self._running = False
        lines = summary_lines(status, folder, command, mirror)
        style = "bold green" if status.get("state") == "finished" else "bold yellow"
        if status.get("state") == "failed":
            style = "bold red"
        self._console.print()
        self._console.print(lines[0], style=style, markup=False, soft_wrap=True)
        for line in lines[1:]:
            self.message(line)

    def _render(self) -> Any:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        with self._lock:
            progress, phase = self._progress, self._phase
            elapsed = duration(time.monotonic() - self._started)
            left = progress.seconds_left(time.time())
            numbers = self._numbers()
        grid = Table.grid(padding=(0, 2), expand=True)
        grid.add_column(no_wrap=True)
        grid.add_column(ratio=1)
        grid.add_column(no_wrap=True)
        total = max(1, progress.total_steps)
        waiting = progress.step == progress.first_step
        head = Text(phase if waiting else f"step {progress.step}/{progress.total_steps}", "bold")
        clock = elapsed if left is None else f"{elapsed}, {duration(left)} left"
        bar = ProgressBar(
            total=total, completed=progress.step, pulse=waiting, complete_style="cyan"
        )
        grid.add_row(head, bar, Text(clock))
        lines = Table.grid(expand=True)
        lines.add_row(grid)
        if numbers:
            lines.add_row(Text(numbers, no_wrap=True, overflow="ellipsis"))
        return lines

    def _numbers(self) -> str:
        progress = self._progress
        parts = progress.phrases(progress.step, f" {sparkline(progress.rewards)}")
        if progress.seconds_per_step is not None:
            parts.append(f"{progress.seconds_per_step:.1f} s/step")
        return "  ".join(parts)


def evaluation_line(found: Evaluation) -> str:
    """What is said of a measurement on held-out tasks."""
    return f"held-out success at {found.when}: {found}"


def sparkline(values: Sequence[float], width: int = 16) -> str:
    """The course of values in bars of eight heights, the last `width` of them.

    >>> sparkline([0, 1, 2, 7])
    '▁▂▃█'
    """
    shown = list(values)[-width:]
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[int((value - low) * scale)] for value in shown)
