"""The report as Markdown, for a terminal or a README, and as CSV, for other tools."""

import csv
import io
from collections.abc import Sequence

from rlagent.base.stats import mean
from rlagent.base.words import interval, number, percent
from rlagent.records.progress import Evaluation
from rlagent.records.summary import how_it_ended
from rlagent.report.data import ReportData

LAST_OF = (
    "eval/loss",
    "actor/sft_loss",
    "rollout/reward/mean",
    "rollout/success/mean",
    "rollout/valid/mean",
    "rollout/failed_share",
    "rollout/dead_share",
    "rollout/groups",
    "off_policy/kl/behaviour_proximal",
    "off_policy/ess",
    "actor/pg_clipfrac",
    "actor/grad_norm",
    "actor/entropy",
    "sample/lag",
    "tokens/per_second",
    "time/step",
)
"""Metrics of the table, before the workflow's own: the first, the last and the mean over all
steps."""


def markdown(data: ReportData) -> str:
    """Headline, evaluations and metrics as Markdown."""
    status = data.status
    lines = [f"# {data.title}", "", how_it_ended(status), ""]
    for label, key in (
        ("Model", "model"),
        ("Data", "dataset"),
        ("Layout", "layout"),
        ("Note", "stamp"),
    ):
        if status.get(key):
            lines.append(f"- {label}: {status[key]}")
    if data.change:
        rise, low, high = (100 * value for value in data.change)
        lines.append(
            f"- Held-out success: {rise:+.1f} points, 95 % interval [{low:+.1f}, {high:+.1f}]"
        )
    if data.evaluations:
        lines += ["", *_evaluations(data.evaluations)]
    names = [*LAST_OF, *(f"rollout/{name}/mean" for name in data.own)]
    names += [f"eval/{name}" for name in data.own]
    table = [(name, data.series(name).values) for name in names]
    if any(values for _, values in table):
        lines += ["", "| metric | first | last | mean |", "| :--- | ---: | ---: | ---: |"]
        lines += [
            f"| {name} | {number(values[0])} | {number(values[-1])} | {number(mean(values))} |"
            for name, values in table
            if values
        ]
    return "\n".join(lines) + "\n"


def _evaluations(measured: Sequence[Evaluation]) -> list[str]:
    """The table of evaluations: all tasks together, and each set where there are several.

    `weights` is the step whose weights were measured.
    """
    lines = [
        "| step | held-out success | 95 % interval | valid | tasks | rollouts | set | weights |"
    ]
    lines += ["| ---: | ---: | ---: | ---: | ---: | ---: | :--- | ---: |"]
    for whole in measured:
        lines += [
            f"| {e.step} | {percent(e.success)} | {interval(e.low, e.high)} | {percent(e.valid)} "
            f"| {e.tasks} | {e.rollouts or e.tasks} | {e.name or 'all'} | {e.weights} |"
            for e in (whole, *whole.sets)
        ]
    return lines


def csv_text(data: ReportData) -> str:
    """Every metric in long form: role, step, attempt, time, metric, value."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["role", "step", "attempt", "time", "metric", "value"])
    for row in data.rows:
        for name, value in row["metrics"].items():
            writer.writerow([row["role"], row["step"], row["attempt"], row["time"], name, value])
    return out.getvalue()
