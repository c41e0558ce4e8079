"""The report of a sweep as Markdown and CSV, one row per trial."""

import csv
import io

from rlagent.base.words import number, percent
from rlagent.records.objective import unranked_lines
from rlagent.report.importance import all_parameters
from rlagent.report.sweep_data import BEST_NOTE, SweepData, in_order, places


def sweep_markdown(data: SweepData) -> str:
    """Trials ranked, layouts, importance, failures and commands as Markdown."""
    sweep = data.sweep
    counts = ", ".join(f"{count} {state}" for state, count in data.counts)
    lines = [f"# {_cell(sweep.name)}", "", f"{data.state}: {counts}", ""]
    lines.append(f"- Objective: {_cell(sweep.metric)}, {sweep.direction}")
    if data.stamp:
        lines.append(f"- Note: {_cell(data.stamp)}")
    if data.best_command:
        lines += ["", f"The best trial's command. {BEST_NOTE}", ""]
        lines.append(f"    {data.best_command}")
    lines += ["", f"| place | trial | overrides | state | {_cell(sweep.metric)} | steps | s/step "
              "| tokens/s | failure |"]  # fmt: skip
    lines.append("| ---: | ---: | :--- | :--- | ---: | ---: | ---: | ---: | :--- |")
    where = places(sweep)
    for t in in_order(data):
        cells = [
            str(where.get(t.row.number, "")), str(t.number), _cell(t.words), t.row.state,
            data.value_text(t.row.objective),
            str(t.steps), number(t.step_s), number(t.tokens_s), _cell(t.row.failure or ""),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    if data.layouts:
        lines += ["", "| layout | s/step | estimated | tokens/s | tokens/s per GPU |"]
        lines.append("| :--- | ---: | ---: | ---: | ---: |")
        lines += [
            f"| {_cell(row.layout)} | {number(row.step_s)} | {number(row.estimate_s)} "
            f"| {number(row.tokens_s)} | {number(row.tokens_s_gpu)} |"
            for row in data.layouts
        ]
    lines += ["", data.importance.note, ""]
    lines += [f"- {_cell(name)}: {percent(share, 0)}" for name, share in data.importance.shares]
    if unranked := [_cell(line) for line in unranked_lines(sweep)]:
        lines += ["", *unranked]
    for name, members in data.failures:
        lines += ["", f"Failed, {_cell(name)}: {len(members)}", ""]
        lines += [f"- trial {t.number} ({_cell(t.words)}): {_cell(t.row.cause)}" for t in members]
    return "\n".join(lines).rstrip() + "\n"


def _cell(text: str) -> str:
    """Text that cannot end a table's cell or line, nor act as HTML where Markdown allows it."""
    flat = " ".join(text.split())
    for sign, written in (("\\", "\\\\"), ("|", "\\|"), ("<", "&lt;"), ("`", "\\`")):
        flat = flat.replace(sign, written)
    return flat


def sweep_csv(data: SweepData) -> str:
    """One row per trial; each parameter is a column of its own."""
    names = all_parameters(data.sweep.trials, data.sweep.parameters)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["trial", "trial_id", *names, "state", "objective", "metric", "steps", "step_s",
         "estimated_step_s", "tokens_per_second", "gpus", "layout", "exit_code", "failure",
         "cause", "tries", "started", "ended", "folder", "unranked"]
    )  # fmt: skip
    for t in data.trials:
        row = t.row
        writer.writerow(
            [t.number, row.trial_id, *(row.params.get(name, "") for name in names), row.state,
             row.objective, data.sweep.metric, t.steps, t.step_s, row.estimated_step_s, t.tokens_s,
             t.gpus, t.layout, row.exit_code, row.failure, row.cause, row.tries, row.started,
             row.ended, row.folder, row.unranked]
        )  # fmt: skip
    return out.getvalue()
