"""What `rlagent plan -m` says of a grid: what its trials share, a row for each, what to type next.

Planning the grid is grid.py's; one configuration in words is rlagent.plan's.
"""

import shlex
from collections.abc import Sequence

from rlagent.base.words import aligned, python_command
from rlagent.config.command import Command
from rlagent.config.estimate import planned_step, roughly, run_minutes
from rlagent.config.overrides import key_of
from rlagent.config.resolve import Resolved
from rlagent.config.weigh import weighed, weighed_taken
from rlagent.planner.candidates import Candidate
from rlagent.planner.constants import TELLS_APART
from rlagent.planner.table import memory_cells, refused
from rlagent.report.sweep_names import shown
from rlagent.sweep.common import flags_of
from rlagent.sweep.grid import LAYOUT
from rlagent.sweep.source import Trial

SHOWN = 40
"""Most trials of the table, as of the one that a sweep shows while it runs."""

HEAD = (
    "trial",
    "overrides",
    "model",
    "layout",
    "engine takes (needs)",
    "trainer",
    "step",
    "whole run",
    "verdict",
)
SAID = ("overrides", "model", "layout")
"""Columns that say nothing where all trials have the same: it is among what they share."""

ESTIMATED = {
    "trainer": "memory per GPU",
    "step": "seconds per step",
    "whole run": "time of the whole run",
}
"""What of the columns is an estimate."""

Sections = Sequence[tuple[str, Sequence[str]]]
"""Titles, each with its lines."""


def shared(described: Sequence[Sections]) -> list[tuple[str, list[str]]]:
    """Return what the descriptions of all trials have in common, section by section.

    >>> shared([[("batch", ["a", "b"]), ("layout", ["x"])], [("batch", ["b"]), ("layout", ["y"])]])
    [('batch', ['b'])]
    """
    by_title = [dict(sections) for sections in described]
    found = []
    for title, lines in described[0] if described else ():
        common = [line for line in lines if all(line in one.get(title, ()) for one in by_title)]
        if common:
            found.append((title, common))
    return found


def trial_table(trials: Sequence[Trial], every: bool = False) -> list[str]:
    """Return a table of the trials, as far as the planner can tell: memory, seconds, verdict.

    Args:
        trials: Those of a grid.
        every: Whether all are shown, not the first `SHOWN`.
    """
    found = [weighed_taken(trial.resolved) for trial in trials]
    verdicts = _verdicts(trials, found)
    cells = [_row(*each) for each in zip(trials, found, verdicts, strict=True)]
    kept = [
        column
        for column, name in enumerate(HEAD)
        if _says_something(name, {row[column] for row in cells}, len(cells))
    ]
    most = len(cells) if every else SHOWN
    estimated = [text for name, text in ESTIMATED.items() if HEAD.index(name) in kept]
    lines = [f"rough estimates: {', '.join(estimated)}"]
    if any(candidate and candidate.offload for candidate in found):
        lines.append("(o): the trainer's state in host memory")
    lines += aligned([[row[column] for column in kept] for row in (HEAD, *cells[:most])])
    if len(cells) > most:
        lines.append(f"and {len(cells) - most} more: --all shows them")
    return lines


def refused_layouts(trials: Sequence[Trial], every: bool = False) -> list[str]:
    """Return why other layouts are no trials, where `sweep.layouts` asks for all that can be."""
    without_layout: dict[tuple[str, ...], Resolved] = {}
    for trial in trials:
        if trial.resolved.composed.sweep.layouts:
            others = tuple(text for text in trial.differing if key_of(text) != LAYOUT)
            without_layout.setdefault(others, trial.resolved)
    lines = (refused(weighed(resolved), every) for resolved in without_layout.values())
    return list(dict.fromkeys(line for each in lines for line in each))


def next_lines(trials: Sequence[Trial], command: Command) -> list[str]:
    """Return how to see more of a trial."""
    if not trials:
        return []
    words = [python_command(), "-m", "rlagent.plan", *shown(trials[0].overrides)]
    return [
        "--all shows every trial whole; to see one alone, with Trinity's configuration, such as 1:",
        f"  {shlex.join([*words, *flags_of(command)])}",
    ]


def _row(trial: Trial, candidate: Candidate | None, verdict: str) -> list[str]:
    resolved = trial.resolved
    config, layout = resolved.config, resolved.layout
    planned = planned_step(config, layout, resolved.machine)
    minutes = run_minutes(config, layout, resolved.machine.cores, planned)
    others = [text for text in trial.differing if key_of(text) != LAYOUT]
    return [
        str(trial.number + 1),
        " ".join(shown(others)),
        config.model.name,
        f"{layout} (o)" if candidate and candidate.offload else str(layout),
        *(memory_cells(candidate) if candidate else ("", "")),
        f"{planned.step:.1f} s" if planned else "",
        roughly(minutes),
        verdict,
    ]


def _says_something(name: str, values: set[str], trials: int) -> bool:
    return values != {""} and not (name in SAID and trials > 1 and len(values) == 1)


def _verdicts(trials: Sequence[Trial], found: Sequence[Candidate | None]) -> list[str]:
    """Return of each trial whether it fits, and where only layouts differ, how fast it is."""
    steps = [item.step_s for item in found if item and not item.reasons]
    only_layouts = all({key_of(text) for text in trial.differing} == {LAYOUT} for trial in trials)
    fastest = min(steps, default=0.0) if only_layouts and len(steps) > 1 else 0.0
    return [_verdict(candidate, fastest) for candidate in found]


def _verdict(candidate: Candidate | None, fastest: float) -> str:
    if candidate is None:
        return ""
    if candidate.reasons:
        return candidate.reasons[0]
    if not fastest:
        return "fits"
    ratio = candidate.step_s / fastest
    return (
        "fits, among the fastest"
        if ratio <= 1 + TELLS_APART
        else f"fits, {ratio:.1f} x the fastest"
    )
