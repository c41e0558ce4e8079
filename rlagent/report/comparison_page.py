"""A comparison as a page that stands by itself: tables, curves, and what changed with both
conversations. Its text is comparison_text.py's.
"""

from types import SimpleNamespace
from typing import Any

from rlagent.base.stats import Series
from rlagent.report.comparison import Comparison, Pairing
from rlagent.report.comparison import Side as Compared
from rlagent.report.comparison_text import (
    MOST_TASKS,
    differing_rows,
    measure_rows,
    paired_lines,
    pairing_title,
    source_lines,
)
from rlagent.report.data import Pair
from rlagent.report.page import Task, task_of
from rlagent.report.render import render
from rlagent.report.svg import Axis, Chart, Line, chart

PERCENT = Axis(percent=True, low=0.0, high=1.0)


def page(found: Comparison) -> str:
    """The whole page."""
    title = " against ".join(side.name for side in found.sides)
    data = SimpleNamespace(title=title, folder=SimpleNamespace(path="records"))
    return render("comparison.html.j2", data=data, **comparison_values(found))


def comparison_values(found: Comparison) -> dict[str, Any]:
    """What comparison.html.j2 shows of a comparison."""
    return {
        "names": [side.name for side in found.sides],
        "differing": differing_rows(found),
        "measured": measure_rows(found),
        "charts": [made for made in (_over_steps(found), _over_tokens(found)) if made],
        "sources": source_lines(found),
        "pairings": [
            (pairing_title(found, each), paired_lines(each), _tasks(each))
            for each in found.pairings
        ],
        "unpaired": found.unpaired,
    }


def _tasks(pairing: Pairing) -> list[tuple[str, Task, tuple[str, str]]]:
    """The first tasks that got better, and that got worse."""
    found: list[tuple[str, Task, tuple[str, str]]] = []
    names = (pairing.before.name, pairing.after.name)
    for word, indices in (("better", pairing.found.better), ("worse", pairing.found.worse)):
        for index in indices[:MOST_TASKS]:
            found.append((word, task_of(Pair(*pairing.rollouts(index))), names))
    return found


def _over_steps(found: Comparison) -> Chart | None:
    lines = [
        Line(side.name, side.curve, colour=1 + index % 5, dots=True)
        for index, side in enumerate(found.sides)
    ]
    return chart("Held-out success over steps", lines, PERCENT)


def _over_tokens(found: Comparison) -> Chart | None:
    lines = [
        Line(side.name, _by_tokens(side), colour=1 + index % 5, dots=True)
        for index, side in enumerate(found.sides)
    ]
    return chart("Held-out success over tokens trained on", lines, PERCENT)


def _by_tokens(side: Compared) -> Series:
    """Held-out success by the tokens trained on until then."""
    points: list[tuple[Any, float]] = []
    for step, value in zip(side.curve.steps, side.curve.values, strict=True):
        tokens = 0.0 if step == 0 else side.tokens.at(step)
        if tokens is not None:
            points.append((int(tokens), value))
    return Series("eval/success", tuple(at for at, _ in points), tuple(y for _, y in points))
