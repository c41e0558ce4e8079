"""The number that trials are compared by, from what a run has written."""

import math
import statistics
from typing import Any

from rlagent.records.checkpoints import noted_step
from rlagent.records.folder import RunFolder
from rlagent.records.sweep_store import FINISHED, PRUNED, Sweep, TrialRow


def objective(folder: RunFolder, metric: str) -> float | None:
    """Return a trial's value of the sweep's metric; None when it was not measured.

    Args:
        folder: The trial's run folder.
        metric: A name in metrics.jsonl.
    """
    return value_of(folder.read_metrics(), metric)


def value_of(rows: list[dict[str, Any]], metric: str) -> float | None:
    """Return the value at the last step; of durations and speeds the median of the steps.

    A number that is not finite, as of a diverged run, counts as not measured.
    """
    found = [(row["step"], row["metrics"][metric]) for row in rows if metric in row["metrics"]]
    values = [value for _, value in sorted(found, key=lambda pair: pair[0])]
    values = [value for value in values if math.isfinite(value)]
    if not values:
        return None
    if is_pace(metric):
        return statistics.median(values)
    return values[-1]


def state_when_pruned(folder: RunFolder, metric: str) -> str:
    """Return the state of a trial that stopped when it was asked to be pruned.

    A request that came in its last step took nothing from it where that step was trained, saved
    and measured all the same.

    Args:
        folder: The trial's run folder.
        metric: A name in metrics.jsonl.
    """
    status = folder.read_status()
    asked, trained = status.get("steps_asked"), status.get("steps_trained") or 0
    if asked is None or trained < asked or not _is_saved(folder, trained):
        return PRUNED
    at_the_end = (row for row in folder.read_metrics() if row["step"] >= asked)
    return FINISHED if any(intermediate(row, metric) for row in at_the_end) else PRUNED


def _is_saved(folder: RunFolder, step: int) -> bool:
    """Whether the newest checkpoint of a run is that of a step."""
    return noted_step(folder.checkpoints) == step


def is_pace(metric: str) -> bool:
    """Whether single steps say little, so that the median of all counts."""
    return metric.startswith("time/") or metric.endswith("per_second")


def intermediate(row: dict[str, Any], metric: str) -> tuple[int, float] | None:
    """Return step and value when a row measures the metric, None otherwise."""
    value = row["metrics"].get(metric)
    if value is None or not math.isfinite(value):
        return None
    return row["step"], value


def measured(folder: RunFolder) -> list[str]:
    """Names of everything that a run measured, sorted."""
    return sorted({name for row in folder.read_metrics() for name in row["metrics"]})


def ranked(sweep: Sweep) -> list[TrialRow]:
    """The trials that have an objective, the best first."""
    found = [
        row for row in sweep.trials if row.objective is not None and row.state in (FINISHED, PRUNED)
    ]
    sign = -1 if sweep.direction == "maximize" else 1
    return sorted(found, key=lambda row: (row.state != FINISHED, sign * (row.objective or 0.0)))


def unranked_lines(sweep: Sweep) -> list[str]:
    """Trials of earlier launches that are not compared with the others, by the reason."""
    reasons: dict[str, list[str]] = {}
    for row in sweep.trials:
        if row.unranked:
            reasons.setdefault(row.unranked, []).append(str(row.number + 1))
    return [
        f"not ranked, {reason}: trial{'' if len(found) == 1 else 's'} {', '.join(found)}"
        for reason, found in reasons.items()
    ]
