"""What is said of an evaluation: a table of its measures, and where things are. Pure text."""

from collections.abc import Mapping, Sequence
from typing import Any

from rlagent.base.words import aligned, interval, number, percent, short_path
from rlagent.records.evaluations import EvaluationFolder

Measured = Mapping[str, Any]


def table(measured: Sequence[Measured]) -> list[list[str]]:
    """Cells of the measures of checkpoints, header first. A measure that no checkpoint has is left
    out."""
    columns: list[tuple[str, list[str]]] = [
        ("checkpoint", [str(each["checkpoint"]) for each in measured]),
        ("success", [_success(each) for each in measured]),
    ]
    for name, title in (("pass_at", "pass@"), ("majority_at", "maj@")):
        ks = dict.fromkeys(k for each in measured for k in each.get(name) or {} if k != "1")
        for k in sorted(ks, key=int):
            cells = [percent((each.get(name) or {}).get(k)) for each in measured]
            columns.append((f"{title}{k}", cells))
    if any(each.get("valid") is not None for each in measured):
        columns.append(("valid", [percent(each.get("valid")) for each in measured]))
    columns += [
        ("failed", [f"{each['failed']}" for each in measured]),
        ("tokens", [number(each.get("tokens")) for each in measured]),
        ("turns", [number(each.get("turns")) for each in measured]),
        ("seconds", [number(each["seconds"]) for each in measured]),
    ]
    titles = [title for title, _ in columns]
    return [titles, *map(list, zip(*(cells for _, cells in columns), strict=True))]


def table_of_several(names: Sequence[str], several: Sequence[Sequence[Measured]]) -> list[str]:
    """The measures of several evaluations as lines, each row with the name of its evaluation."""
    rows = [
        (name, each) for name, measured in zip(names, several, strict=False) for each in measured
    ]
    header, *cells = table([each for _, each in rows])
    named = [[name, *cell] for (name, _), cell in zip(rows, cells, strict=True)]
    return aligned([["of", *header], *named])


def _success(each: Measured) -> str:
    return f"{percent(each['success'])} {interval(each['success_low'], each['success_high'])}"


def closing_lines(folder: EvaluationFolder, measured: Sequence[Measured]) -> list[str]:
    """What is said at the end: the table, the first failures, where the results are, what next."""
    first = measured[0]
    each = "" if first["samples"] == 1 else f", {first['samples']} rollouts each"
    lines = [
        "",
        f"{first['tasks']} held-out tasks{each}; success with its 95 % interval over tasks",
    ]
    lines += ["", *aligned(table(measured))]
    for one in measured:
        if one["failed"]:
            cause = one["failures"][0]["error"] if one["failures"] else "left no record"
            failed = f"{one['failed']} of {one['tasks'] * one['samples']} rollouts failed"
            lines += ["", f"{one['checkpoint']}: {failed}; the first: {cause}"]
    lines += [
        "",
        f"  results   {short_path(folder.results_json)}",
        f"  page      {short_path(folder.report_html)}",
        f"  picture   {short_path(folder.picture)}",
    ]
    return lines
