"""Prepares the page of a sweep; how it is written is left to templates/sweep.html.j2."""

import math
from collections.abc import Sequence
from typing import Any

from rlagent.base.stats import Series
from rlagent.base.words import duration
from rlagent.records.objective import ranked
from rlagent.records.sweep_store import FINISHED
from rlagent.report.importance import all_parameters
from rlagent.report.page import Tile
from rlagent.report.parallel import parallel, top_lines
from rlagent.report.render import render
from rlagent.report.svg import Axis, Chart, Line, chart, thin
from rlagent.report.sweep_data import BEST_NOTE, Group, SweepData, in_order
from rlagent.report.sweep_names import log_keys, short_keys, shortened, sweep_command

COLOURS = 4
"""Groups with a colour and a name; the others are pale behind them."""

BEHIND, BEHIND_POINTS = 120, 60
"""Most pale curves, and points of each: more could not be told apart."""


def sweep_page(data: SweepData) -> str:
    """The whole page."""
    return render("sweep.html.j2", **sweep_values(data))


def sweep_values(data: SweepData) -> dict[str, Any]:
    """What sweep.html.j2 shows of a sweep."""
    sweep = data.sweep
    groups = [group for group in data.groups if group.mean]
    named, others = groups[:COLOURS], groups[COLOURS:]
    # Every so-many-th of them, so that good and bad ones show alike.
    drawn = others[:: math.ceil(len(others) / BEHIND)] if others else []
    finished = [row for row in ranked(sweep) if row.state == FINISHED]
    return {
        "data": data,
        "sweep": sweep,
        "about": [
            text
            for text in (f"{sweep.sweeper}, {sweep.metric}, {sweep.direction}", sweep.machine)
            if text
        ],
        "tiles": _tiles(data),
        "best_note": BEST_NOTE,
        "curves_note": _curves_note(groups, len(drawn)),
        "wide": _curves(data, named, drawn, 1080),
        "narrow": _curves(data, named, drawn[::4] or drawn, 520),
        "parallel": parallel(finished, _axes(data), sweep.metric, log_keys(sweep.argv)),
        "parallel_note": f"{len(finished)} finished trials; orange: the best"
        + (", blue: the best tenth." if top_lines(len(finished)) > 1 else "."),
        "trials": in_order(data),
        "sweep_command": sweep_command(sweep),
    }


def _tiles(data: SweepData) -> list[Tile]:
    counts = ", ".join(f"{count} {state}" for state, count in data.counts)
    shown: list[Tile] = [("Trials", (str(len(data.trials)),), counts, "")]
    best = data.best
    if best is not None:
        objective = data.value_text(best.objective)
        note = f"trial {best.number + 1}"
        shown.append((f"Best {data.sweep.metric}", (objective,), note, ""))
        keys = short_keys(data.sweep.parameters)
        words = " ".join(shortened(text, keys) for text in best.overrides)
        shown.append(("Best trial", (_short(words, 200) or "-",), "", "long"))
    spent = data.sweep.updated - data.sweep.started
    if data.sweep.started and spent > 0:
        shown.append(("Time", (duration(spent),), "from first start to final status", ""))
    return shown


def _curves_note(groups: Sequence[Group], drawn: int) -> str:
    said = []
    if any(group.band for group in groups):
        said.append("Line: mean over seeds; band: least to most of the seeds.")
    if others := len(groups[COLOURS:]):
        part = f"{drawn} of the " if drawn < others else ""
        said.append(f"Named: the best {COLOURS}; grey: {part}{others} others.")
    return " ".join(said)


def _curves(
    data: SweepData, named: Sequence[Group], behind: Sequence[Group], width: int
) -> list[Chart]:
    """The objective over the steps, and the training reward of the named."""
    lines = [_line(group, index + 1) for index, group in enumerate(named)]
    axis = Axis(percent=True, low=0.0, high=1.0) if data.percent else Axis()
    pale = [thin(group.mean, BEHIND_POINTS) for group in behind]
    rewards = [
        Line(_short(group.words), group.reward, colour=index + 1, smoothed=True)
        for index, group in enumerate(named)
    ]
    title = "Training reward of the named, mean over seeds"
    charts = [
        chart(data.sweep.metric, lines, axis, width, 250 + width // 13, pale, best_first=True),
        chart(title, rewards, Axis(low=0.0), width, 260, best_first=True),
    ]
    return [each for each in charts if each]


def _line(group: Group, colour: int) -> Line:
    mean, band = thin(group.mean), group.band
    if len(mean.steps) != len(group.mean.steps):
        lows, highs = zip(*band, strict=True) if band else ((), ())
        steps = group.mean.steps
        low, high = (thin(Series("", steps, tuple(bound))).values for bound in (lows, highs))
        band = tuple(zip(low, high, strict=True)) if band else ()
    return Line(_short(group.words), mean, colour=colour, dots=len(mean.steps) <= 30, band=band)


def _short(text: str, longest: int = 70) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _axes(data: SweepData) -> list[str]:
    """All parameters; where they are many, the important ones first."""
    known = all_parameters(data.sweep.trials, data.sweep.parameters)
    order = [name for name, _ in data.importance.shares]
    return known if len(known) <= 8 else [*order, *(n for n in known if n not in order)]
