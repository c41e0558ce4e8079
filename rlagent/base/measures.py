"""The numbers of a step and of an evaluation, each defined once, from what every rollout reported.

A metric is the mean over the rollouts that report it, with the least, the greatest and their
count: a rollout that failed, or that leaves a name out, does not count for it. Only success on
held-out tasks is a share of all rollouts, since one that failed is no success. Pure functions.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rlagent.base.estimates import clustered_interval

OURS = (
    *("reward", "success", "overlong", "truncated"),
    *("model_calls", "model_seconds", "agent_seconds", "response_tokens", "time/run_execution"),
)
"""What rlagent itself measures of each rollout."""

COUNTED = ("success_low", "success_high", "tasks", "rollouts", "failed", "model_version")
"""What is known of an evaluation beside what its rollouts report."""

WORKFLOW = "workflow/"
"""Prefix of a workflow's own metric whose name is taken: both are kept."""

SPREAD: dict[str, Callable[[Sequence[float]], float]] = {
    "mean": lambda values: math.fsum(values) / len(values),
    "min": min,
    "max": max,
    "count": lambda values: float(len(values)),
}

ASKED: dict[str, Callable[[Sequence[float]], float]] = {
    "mean": SPREAD["mean"],
    "min": min,
    "max": max,
    "sum": math.fsum,
    "last": lambda values: values[-1],
}
"""Endings by which a name asks for an aggregate, as in `tokens:sum`; Trinity's notation."""

OF_AGENT = "reward/"
"""Prefix of what each agent earned, where a workflow returns rewards by agent or by call."""

Reports = Sequence[Mapping[str, float]]


def rewards_of(reports: Reports) -> list[float]:
    """The rewards of a task's rollouts, as far as they ended with one; where several agents earn
    their own, those of the agent whose rewards differ most: it is compared with itself.

    >>> rewards_of([{"reward": 0.5, "reward/a": 1.0, "reward/b": 0.0},
    ...             {"reward": 0.5, "reward/a": 0.0, "reward/b": 1.0}])
    [1.0, 0.0]
    """
    found = {name: values for name, values in _by_name(reports).items() if _is_reward(name)}
    if not found:
        return []
    return max(found.values(), key=statistics.pstdev)


def _is_reward(name: str) -> bool:
    return name == "reward" or name.startswith(OF_AGENT)


def own_name(name: str) -> str:
    """What a workflow's metric is kept as.

    >>> own_name("format"), own_name("success"), own_name("workflow/success")
    ('format', 'workflow/success', 'workflow/workflow/success')
    """
    taken = _base(name) in (*OURS, *COUNTED) or name.startswith((WORKFLOW, OF_AGENT))
    return WORKFLOW + name if taken else name


def step_metrics(reports: Reports) -> dict[str, float]:
    """The numbers of a training step, `rollout/NAME/{mean,min,max,count}`.

    Args:
        reports: The metrics of each rollout that ended with a reward.

    >>> step_metrics([{"a": 1.0}, {"a": 2.0}, {"b:sum": 3.0}])
    {'rollout/a/mean': 1.5, 'rollout/a/min': 1.0, 'rollout/a/max': 2.0, 'rollout/a/count': 2.0, \
'rollout/b/sum': 3.0}
    """
    found = {}
    for name, values in _by_name(reports).items():
        if asked := _asked(name):
            found[f"rollout/{_base(name)}/{asked}"] = ASKED[asked](values)
        else:
            found |= {f"rollout/{name}/{part}": of(values) for part, of in SPREAD.items()}
    return found


def evaluation_metrics(sets: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """The numbers of an evaluation, `eval/NAME`; of several sets also `eval/SET/NAME` of each.

    Args:
        sets: By name, what the coordinator found: `tasks`, each with the number of its `rollouts`
            and the `metrics` of each that ended with a reward.

    Returns:
        Means; of a workflow's own metrics `eval/NAME/{min,max,count}` too. `success` is the share
        of all rollouts, with the 95 % interval `success_low` to `success_high` clustered by task,
        as of `rlagent evaluate`. `failed` counts rollouts without a reward. All sets
        together are one set of all their rollouts. A set without rollouts has no numbers: its
        success is unknown, not 0.
    """
    found: dict[str, float] = {}
    if len(sets) > 1:
        for name, result in sets.items():
            found |= _measured(f"eval/{name}", result["tasks"])
    return found | _measured("eval", [task for one in sets.values() for task in one["tasks"]])


def _measured(prefix: str, tasks: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    rollouts = sum(task["rollouts"] for task in tasks)
    if not rollouts:
        return {}
    reports = [report for task in tasks for report in task["metrics"]]
    counts = [
        (math.fsum(report.get("success", 0.0) for report in task["metrics"]), task["rollouts"])
        for task in tasks
    ]
    low, high = clustered_interval(counts)
    found = {
        f"{prefix}/success": math.fsum(successes for successes, _ in counts) / rollouts,
        f"{prefix}/success_low": low,
        f"{prefix}/success_high": high,
        f"{prefix}/tasks": float(len(tasks)),
        f"{prefix}/rollouts": float(rollouts),
        f"{prefix}/failed": float(rollouts - len(reports)),
    }
    spread: dict[str, float] = {}
    for name, values in _by_name(reports).items():
        if asked := _asked(name):
            spread[f"{prefix}/{_base(name)}/{asked}"] = ASKED[asked](values)
        elif name != "success":
            found[f"{prefix}/{name}"] = SPREAD["mean"](values)
            if name not in OURS:
                spread |= {
                    f"{prefix}/{name}/{part}": of(values)
                    for part, of in SPREAD.items()
                    if part != "mean"
                }
    return spread | found


def workflow_metrics(metrics: Mapping[str, float], family: str) -> dict[str, float]:
    """Means of a workflow's own metrics in a row of metrics.jsonl, by name.

    Args:
        metrics: Of the row.
        family: `rollout`, `eval`, or `eval/SET`.

    >>> workflow_metrics({"eval/a": 1.0, "eval/a/count": 2.0, "eval/reward": 3.0}, "eval")
    {'a': 1.0}
    """
    sets = [] if "/" in family else set_names(metrics)
    found = {}
    for key in metrics:
        if not (key.startswith(f"{family}/") and key.endswith("/count")):
            continue
        name = key.removeprefix(f"{family}/").removesuffix("/count")
        mean = metrics.get(f"{family}/{name}/mean" if family == "rollout" else f"{family}/{name}")
        inside = family == "eval" and any(name.startswith(f"{each}/") for each in sets)
        if name not in OURS and mean is not None and not inside:
            found[name] = mean
    return found


def set_names(metrics: Mapping[str, float]) -> list[str]:
    """The sets that an evaluation reports separately; none where there is only one."""
    names = [key[len("eval/") : -len("/tasks")] for key in metrics if key.endswith("/tasks")]
    return [name for name in names if f"eval/{name}/success_low" in metrics]


def _by_name(reports: Reports) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for report in reports:
        for name, value in report.items():
            found.setdefault(name, []).append(float(value))
    return found


def _asked(name: str) -> str:
    _, sign, end = name.rpartition(":")
    return end if sign and end in ASKED else ""


def _base(name: str) -> str:
    return name.rpartition(":")[0] if _asked(name) else name
