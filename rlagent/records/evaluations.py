"""Evaluations on disk: a folder for each set of tasks and way to sample, with the rollouts of every
checkpoint that was measured there, and results.json, which says what they came to.

A folder is a run folder whose steps are those of the checkpoints; 0 is the base model.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlagent.base.estimates import clustered_interval, majority_at, pass_at, powers_up_to
from rlagent.base.measures import OURS
from rlagent.records.files import DamagedError, read_object, write_atomically
from rlagent.records.folder import RunFolder
from rlagent.records.rollouts import Query, Rollout

EVALUATIONS = "evaluations"
"""Folder of evaluations, in a run folder or in run.dir."""

MOST_FAILURES = 100
"""Failed rollouts that results.json lists; all of them are counted."""


class EvaluationFolder(RunFolder):
    """One evaluation."""

    @property
    def results_json(self) -> Path:
        """What was measured, by checkpoint; always whole."""
        return self.path / "results.json"

    @property
    def picture(self) -> Path:
        """The picture of success by checkpoint."""
        return self.path / "success.png"

    def read_results(self) -> dict[str, Any]:
        """results.json; empty before anything was measured.

        Raises:
            DamagedError: It holds something else.
        """
        remedy = "measure again with evaluate.fresh=true"
        return read_object(self.results_json, remedy) or {}

    def write_results(self, results: Mapping[str, Any]) -> None:
        """Replace results.json.

        Raises:
            OSError: It cannot be written; the old one is then still whole.
        """
        write_atomically(self.results_json, json.dumps(results, indent=1, ensure_ascii=False))

    def measured(self) -> list[dict[str, Any]]:
        """What was measured of each checkpoint, by step."""
        return sorted(self.read_results().get("measured", []), key=lambda each: each["step"])

    def samples(self, step: int) -> list[Rollout]:
        """The rollouts of a checkpoint, by task and number."""
        return list(self.rollouts.read(Query(phase="eval", steps=(step, step))))


def task_of(row: Rollout) -> tuple[Any, str]:
    """What names the task of a rollout in every evaluation of the same tasks: where its row is, and
    its content."""
    place = row.get("row") or {}
    return place.get("index"), str(place.get("hash"))


def by_task(rows: Iterable[Rollout]) -> dict[tuple[Any, str], list[Rollout]]:
    """Rollouts by their task, in the order of their numbers."""
    found: dict[tuple[Any, str], list[Rollout]] = {}
    for row in rows:
        found.setdefault(task_of(row), []).append(row)
    for samples in found.values():
        samples.sort(key=lambda row: row.get("run") or 0)
    return found


def evaluations_in(root: Path) -> list[EvaluationFolder]:
    """The evaluations of a run folder, or those of bare models in run.dir, by name; not those that
    have measured nothing yet."""
    folder = root / EVALUATIONS
    if not folder.is_dir():
        return []
    found = [EvaluationFolder(path) for path in sorted(folder.iterdir()) if path.is_dir()]
    return [each for each in found if each.results_json.is_file() and _holds_any(each)]


def _holds_any(folder: EvaluationFolder) -> bool:
    try:
        return folder.read_results().get("measured") != []
    except DamagedError:
        # Whoever reads it says so.
        return True


def measures(rows: Sequence[Rollout], tasks: int, samples: int) -> dict[str, Any]:
    """What the rollouts of one checkpoint come to.

    Args:
        rows: Each rollout once. One that left none, as its process died, counts as failed.
        tasks: Held-out tasks that were asked.
        samples: Rollouts of each.

    Returns:
        `success`, the mean over tasks, with its 95 % interval `success_low` to `success_high`
        clustered by task; `pass_at` and, where answers are handed over, `majority_at`, by k;
        `valid`, a share, where the workflow reports it; `failed`, the rollouts that ended without
        a reward, their share `failed_share` and `failures`; means over the others: `reward`,
        `tokens` (of the responses), `turns`, `seconds_each`, and the workflow's own `metrics`.
    """
    grouped = by_task(rows)
    # Of a task without any rollout nothing is known but that it failed.
    counts = [(sum(map(_succeeded, each)), samples) for each in grouped.values()]
    counts += [(0, samples)] * (tasks - len(counts))
    low, high = clustered_interval(counts)
    ended = [row for row in rows if row.get("error") is None]
    reports = [dict(row.get("metrics") or {}) for row in ended]
    found: dict[str, Any] = {
        "tasks": tasks,
        "samples": samples,
        "success": sum(successes for successes, _ in counts) / (tasks * samples),
        "success_low": low,
        "success_high": high,
        "pass_at": {
            str(k): sum(pass_at(k, samples, successes) for successes, _ in counts) / tasks
            for k in powers_up_to(samples)
        },
        "failed": tasks * samples - len(ended),
        "failed_share": 1 - len(ended) / (tasks * samples),
        "failures": [
            {"row": row.get("row"), "run": row.get("run"), "error": row["error"]}
            for row in rows
            if row.get("error") is not None
        ][:MOST_FAILURES],
        "reward": _mean(reports, "reward"),
        "tokens": _mean(reports, "response_tokens"),
        "turns": _mean(reports, "model_calls"),
        "seconds_each": _sum_of_means(reports, "model_seconds", "agent_seconds"),
        "valid": _mean(reports, "valid"),
    }
    if samples > 1 and any(row.get("answer") is not None for row in rows):
        found["majority_at"] = {
            str(k): sum(_majority(k, each, samples) for each in grouped.values()) / tasks
            for k in powers_up_to(samples)[1:]
        }
    names = dict.fromkeys(name for report in reports for name in report)
    own = [name for name in names if name not in (*OURS, "valid")]
    found["metrics"] = {name: _mean(reports, name) for name in own}
    return found


def dashboard_values(results: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, float]:
    """What was measured of a checkpoint, as a dashboard names it: `evaluate/DATASET/success`."""
    numbers: dict[str, Any] = {
        name: entry.get(name)
        for name in ("success", "success_low", "success_high", "failed_share", "valid", "reward")
    }
    numbers |= {name: entry.get(name) for name in ("tokens", "turns", "seconds")}
    for name in ("pass_at", "majority_at"):
        numbers |= {f"{name}/{k}": value for k, value in (entry.get(name) or {}).items()}
    numbers |= entry.get("metrics") or {}
    prefix = f"evaluate/{results['dataset']}"
    return {f"{prefix}/{k}": float(v) for k, v in numbers.items() if v is not None}


def _succeeded(row: Rollout) -> bool:
    return bool(row.get("success"))


def _majority(k: int, rows: Sequence[Rollout], samples: int) -> float:
    lost = samples - len(rows)
    answers = [row.get("answer") for row in rows] + [None] * lost
    return majority_at(k, answers, [*map(_succeeded, rows), *[False] * lost])


def _mean(reports: Sequence[Mapping[str, float]], name: str) -> float | None:
    values = [float(report[name]) for report in reports if name in report]
    mean = sum(values) / len(values) if values else None
    # JSON has no word for NaN, which a workflow may report.
    return mean if mean is not None and math.isfinite(mean) else None


def _sum_of_means(reports: Sequence[Mapping[str, float]], *names: str) -> float | None:
    means = [mean for name in names if (mean := _mean(reports, name)) is not None]
    return sum(means) if means else None
