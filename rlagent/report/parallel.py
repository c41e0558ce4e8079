"""Parallel coordinates as SVG text: an axis per parameter and for the objective, a line per trial.

Pure: rows in, text out.
"""

import html
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from rlagent.base.words import number
from rlagent.records.sweep_store import TrialRow
from rlagent.report.importance import is_number, wants_log
from rlagent.report.svg import faint
from rlagent.report.sweep_names import is_share

MOST_AXES = 8
MOST_LABELS = 8
TOP = 0.1
"""Share of the trials that is drawn as the best ones."""

WIDTH, HEIGHT, LEFT, RIGHT, ABOVE, BELOW = 1080, 350, 110, 110, 40, 22

PAD = 10
"""Pixels that an axis goes on beyond its values: a line along its end would seem a frame's."""


@dataclass(frozen=True)
class Scale:
    """Where the values of one axis stand: shares of its height, and its labels."""

    name: str
    places: dict[str, float]
    labels: tuple[tuple[float, str], ...]
    log: bool = False


def scale(name: str, values: Sequence[Any], searched_log: bool = False) -> Scale:
    """Numbers by size, anything else evenly, in order.

    Numbers stand by their logarithm where they span much or were searched that way.
    """
    if name != "seed" and all(is_number(value) for value in values):
        return _numeric(name, values, wants_log(values) or (searched_log and min(values) > 0))
    texts = sorted({str(value) for value in values}, key=_natural)
    last = max(1, len(texts) - 1)
    even = {text: (index / last if len(texts) > 1 else 0.5) for index, text in enumerate(texts)}
    places = {repr(value): even[str(value)] for value in values}
    every = math.ceil(len(texts) / MOST_LABELS)
    return Scale(name, places, tuple((even[text], text) for text in texts[::every]))


def _numeric(name: str, values: Sequence[Any], log: bool, most: int = MOST_LABELS) -> Scale:
    turn = math.log if log else float
    low, high = turn(min(values)), turn(max(values))
    span = high - low
    places = {repr(v): ((turn(v) - low) / span if span else 0.5) for v in values}
    distinct = sorted(set(values))
    if len(distinct) <= most:
        labels = [(places[repr(value)], number(value)) for value in distinct]
        # Values that lie close together would be written over each other.
        return Scale(name, places, tuple(_apart(labels)), log)
    if not span:
        return Scale(name, places, ((0.5, number(values[0])),))
    labels = []
    for quarter in range(5):
        at = low + span * quarter / 4
        labels.append((quarter / 4, f"{math.exp(at) if log else at:.3g}"))
    return Scale(name, places, tuple(labels), log)


def _apart(labels: Sequence[tuple[float, str]], gap: float = 0.06) -> list[tuple[float, str]]:
    kept: list[tuple[float, str]] = []
    for at, text in labels:
        if not kept or at - kept[-1][0] >= gap:
            kept.append((at, text))
    return kept


def _natural(text: str) -> tuple[bool, float, str]:
    try:
        return False, float(text), text
    except ValueError:
        return True, 0.0, text


def top_lines(trials: int) -> int:
    """How many trials, the best included, are drawn as the best ones.

    >>> top_lines(5), top_lines(20)
    (1, 2)
    """
    return max(1, round(TOP * trials))


def parallel(
    rows: Sequence[TrialRow], names: Sequence[str], metric: str, logs: Collection[str] = ()
) -> Markup:
    """The figure; '' with fewer than two trials or no parameter that differs.

    Args:
        rows: Trials with an objective, the best first.
        names: Parameters, the ones to keep first when there are too many.
        metric: Name of the objective.
        logs: Parameters that were searched on a logarithmic scale.
    """
    usable = [
        name
        for name in names
        if all(name in row.params for row in rows)
        and len({repr(row.params[name]) for row in rows}) > 1
    ][:MOST_AXES]
    if len(rows) < 2 or not usable:
        return Markup()
    scales = [scale(name, [row.params[name] for row in rows], name in logs) for name in usable]
    objectives = [row.objective for row in rows if row.objective is not None]
    # The good ones, which matter, would lie close together at the end of a share's logarithm.
    log = wants_log(objectives) and not is_share(metric)
    scales.append(_numeric(metric, objectives, log, most=0))
    step = (WIDTH - LEFT - RIGHT) / (len(scales) - 1)
    body = []
    top = top_lines(len(rows))
    # The worst first, so that the best lie on top.
    for place in reversed(range(len(rows))):
        row = rows[place]
        values = [*(row.params[name] for name in usable), row.objective]
        points = " ".join(
            f"{LEFT + step * index:.1f},{_y(axis.places[repr(value)]):.1f}"
            for index, (axis, value) in enumerate(zip(scales, values, strict=True))
        )
        kind = " first" if place == 0 else " top" if place < top else ""
        title = html.escape(f"{place + 1}. {number(row.objective)}: {' '.join(row.overrides)}")
        body.append(
            f'<polyline class="trial{kind}" points="{points}"><title>{title}</title></polyline>'
        )
    last = len(scales) - 1
    body += [
        _axis(axis, LEFT + step * index, step, index == last) for index, axis in enumerate(scales)
    ]
    return Markup(
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Parallel coordinates" '
        f'style="{faint(len(rows) - top)}">{"".join(body)}</svg>'
    )


def _y(share: float) -> float:
    return HEIGHT - BELOW - share * (HEIGHT - ABOVE - BELOW)


def _axis(axis: Scale, x: float, step: float, last: bool) -> str:
    """An axis with its labels on the left, of the last one on the right, clear of the lines."""
    # About 7 pixels a letter; names keep their end, which tells them apart.
    note = ", log" if axis.log else ""
    room = max(6, int(step / 7.2) - len(note))
    name = axis.name if len(axis.name) <= room else "…" + axis.name[-room + 1 :]
    parts = [
        f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{_y(0) + PAD:.1f}" '
        f'y2="{_y(1) - PAD:.1f}"/>',
        f'<text class="name" x="{x:.1f}" y="16" text-anchor="middle">{html.escape(name)}{note}'
        f"<title>{html.escape(axis.name)}</title></text>",
    ]
    for at, text in axis.labels:
        shown = text if len(text) <= 18 else text[:17] + "…"
        parts.append(
            f'<text class="tick halo" x="{x + 7 if last else x - 7:.1f}" y="{_y(at) + 3.5:.1f}" '
            f'text-anchor="{"start" if last else "end"}">{html.escape(shown)}</text>'
        )
    return "".join(parts)
