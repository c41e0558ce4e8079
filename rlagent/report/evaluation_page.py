"""The page of one evaluation, which stands by itself: measures, success over the checkpoints,
failures and conversations. From its records alone.
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from rlagent.base.stats import Series
from rlagent.records.evaluation_text import table
from rlagent.records.evaluations import EvaluationFolder
from rlagent.records.rollouts import Rollout, title_of
from rlagent.report.conversation import Turn, conversations_of
from rlagent.report.render import render
from rlagent.report.svg import Axis, Chart, Line, chart

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
    of = results.get("run") or results.get("model")
    return render(
        "evaluation.html.j2",
        data=SimpleNamespace(title=f"{of} on {results['dataset']}", folder=folder),
        results=results,
        newest=newest,
        measured=table(measured),
        curve=_curve(measured),
        kinds=[(name, len(found), [_shown(row) for row in found[:SHOWN]]) for name, found in kinds],
    )


def _shown(row: Rollout) -> tuple[Rollout, str, list[tuple[str, Sequence[Turn]]]]:
    return row, title_of(row), list(conversations_of(row))


def _curve(measured: Sequence[dict[str, Any]]) -> Chart | None:
    if len(measured) < 2:
        return None
    line = Line(
        "success",
        Series(
            "success",
            tuple(each["step"] for each in measured),
            tuple(each["success"] for each in measured),
        ),
        dots=True,
        band=tuple((each["success_low"], each["success_high"]) for each in measured),
    )
    return chart("Success over the checkpoints' steps", [line], Axis(percent=True, low=0, high=1))
