"""Trials of earlier launches that this one does not ask for: which may be ranked with its own.

What a sweep's rows are otherwise, and when they change, is main.py's and pool.py's.
"""

from collections.abc import Collection
from typing import Any

from rlagent.records.folder import RunFolder
from rlagent.records.objective import objective
from rlagent.records.sweep_store import FINISHED, PRUNED, TrialRow


def judge(row: TrialRow, run: RunFolder, metric: str, steps: Collection[int]) -> None:
    """Give a row the objective that it has under this launch's metric, or say why it has none.

    Args:
        row: A trial that is not asked for; changed in place.
        run: Its run folder.
        metric: What trials are compared by now, which may not be what it was.
        steps: Training steps that trials are asked for now.
    """
    row.objective, row.unranked = None, ""
    if row.state not in (FINISHED, PRUNED):
        return
    row.unranked = why_unranked(run.read_status(), steps)
    if not row.unranked:
        row.objective = objective(run, metric)


def why_unranked(status: dict[str, Any], steps: Collection[int]) -> str:
    """Return why a run cannot be compared with those asked for now; '' when it can.

    >>> why_unranked({"steps_asked": 5}, [10]), why_unranked({"steps_asked": 10}, [10])
    ('asked for 5 steps, now for 10', '')
    """
    asked = status.get("steps_asked")
    if asked is None:
        return "how many steps it was asked for is not known any more"
    if asked in steps:
        return ""
    return f"asked for {asked} steps, now for {' or '.join(map(str, sorted(steps)))}"
