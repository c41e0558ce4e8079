"""The page of one evaluation, which stands by itself: measures, success over the checkpoints,
failures and conversations. From its records alone.
"""

import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, TypeGuard

from rlagent.base.stats import Series
from rlagent.records.evaluation_text import table
from rlagent.records.evaluations import EvaluationFolder
from rlagent.records.rollouts import Rollout, title_of
from rlagent.report.conversation import Turn, conversations_of
from rlagent.report.curves import SHARE
from rlagent.report.render import render
from rlagent.report.svg import Chart, Line, chart

SHOWN = 6
"""Rollouts of a kind that are shown; `rlagent rollouts` shows all."""


def evaluation_page(folder: EvaluationFolder) -> str:
    """The whole page of what was measured last.

    Raises:
        DamagedError: results.json cannot be read.
    """
    results, measured = folder.read_results(), folder.measured()
    newest = measured[-1]
    rows = folder.samples(int(newest["step"]))
    kinds = (
        ("failed", [row for row in rows if row.get("error") is not None]),
        ("no success", [row for row in rows if row.get("error") is None and not row["success"]]),
        ("success", [row for row in rows if row.get("success")]),
    )
    return render(
        "evaluation.html.j2",
        data=SimpleNamespace(title=title_of_evaluation(results), folder=folder),
        results=results,
        newest=newest,
        measured=table(measured),
        curve=over_checkpoints(measured),
        kinds=[(name, len(found), [_shown(row) for row in found[:SHOWN]]) for name, found in kinds],
    )


def _shown(row: Rollout) -> tuple[Rollout, str, list[tuple[str, Sequence[Turn]]]]:
    return row, title_of(row), list(conversations_of(row))


def over_checkpoints(
    measured: Sequence[Mapping[str, Any]], width: int = 520, height: int = 230
) -> Chart | None:
    """Success over the steps of the checkpoints; None with fewer than two that have it."""
    success, band = success_of(measured)
    if len(success.steps) < 2:
        return None
    line = Line("success, with 95 % interval", success, dots=True, band=band)
    return chart("Success over the checkpoints' steps", [line], SHARE, width, height)


def success_of(
    measured: Sequence[Mapping[str, Any]],
) -> tuple[Series, tuple[tuple[float, float], ...]]:
    """Success over the steps of the checkpoints that have it, and the interval of each."""
    known = [each for each in measured if _is_share(each.get("success"))]
    steps = tuple(int(each.get("step") or 0) for each in known)
    values = tuple(float(each["success"]) for each in known)
    return Series("success", steps, values), tuple(map(_interval, known))


def title_of_evaluation(results: Mapping[str, Any]) -> str:
    """What was measured, and by which tasks."""
    return f"{results.get('run') or results.get('model')} on {results['dataset']}"


def _interval(each: Mapping[str, Any]) -> tuple[float, float]:
    low, high = each.get("success_low"), each.get("success_high")
    if _is_share(low) and _is_share(high):
        return low, high
    return each["success"], each["success"]


def _is_share(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and math.isfinite(value)
