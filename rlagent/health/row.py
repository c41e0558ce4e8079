"""One line of the doctor's table, and the bounded subprocess that keeps a broken part outside."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

OK, WARN, FAIL, SKIP = "ok", "warn", "FAIL", "-"
WIDTH = 96


@dataclass(frozen=True)
class Row:
    """One finding: ok, warn (a run starts all the same), FAIL (it does not) or - (not needed)."""

    state: str
    name: str
    found: str
    wanted: str = ""
    # What to do; a FAIL always has one.
    remedy: str = ""

    def __post_init__(self) -> None:
        if self.state == FAIL and not self.remedy:
            raise ValueError(f"the failing row {self.name!r} names no remedy")


@dataclass(frozen=True)
class Answer:
    """How a subprocess ended: its last line of output, and what went wrong."""

    ok: bool
    text: str
    error: str = ""


def run_python(code: str, timeout: float) -> Answer:
    """Run code in a fresh interpreter; whatever it does, it ends after `timeout` seconds.

    Returns:
        The last line printed; with the last line of the error stream when it failed.
    """
    # A session of its own, so that what it started can be ended with it.
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        out, error = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return Answer(False, "", f"no answer within {timeout:.0f} s")
    said = last_line(error)
    if process.returncode < 0:
        name = signal.Signals(-process.returncode).name
        return Answer(False, last_line(out), f"killed by {name}{': ' + said if said else ''}")
    if process.returncode:
        return Answer(False, last_line(out), said or f"exit status {process.returncode}")
    return Answer(True, last_line(out))


def last_line(text: str) -> str:
    """The last line that says anything."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def render(title: str, rows: Sequence[Row], width: int = WIDTH) -> str:
    """A titled, aligned table; remedies stand below their rows."""
    names = max((len(row.name) for row in rows), default=0)
    wanted = min(26, max((len(row.wanted) for row in rows), default=0))
    found = max(12, width - 2 - 4 - 2 - names - 2 - (wanted + 2 if wanted else 0))
    if wanted:
        found = min(found, max(len(row.found) for row in rows))
    lines = [title]
    for row in rows:
        head = f"  {row.state:<4}  {row.name:<{names}}  "
        pieces = textwrap.wrap(row.found, found) or [""]
        lines.append(f"{head}{pieces[0]:<{found}}  {row.wanted}".rstrip())
        lines += [" " * len(head) + piece for piece in pieces[1:]]
        if row.remedy:
            indent = " " * 8
            lines += textwrap.wrap(
                f"remedy: {row.remedy}", width, initial_indent=indent,
                subsequent_indent=indent + "  ", break_long_words=False, break_on_hyphens=False,
            )  # fmt: skip
    return "\n".join(lines)
