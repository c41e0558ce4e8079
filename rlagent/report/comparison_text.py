"""A comparison as text: for a terminal, as markdown, as CSV."""

import csv
import io
from collections.abc import Callable, Sequence

from rlagent.base.texts import shown
from rlagent.base.words import aligned, interval, number, percent
from rlagent.records.evaluation_text import table
from rlagent.records.rollouts import Rollout, title_of
from rlagent.report.comparison import Comparison, Pairing

MOST_TASKS = 8
"""Tasks that got better, and as many that got worse, which are listed."""

MOST_ANSWER = 60
"""Characters of an answer beside its task."""

Rows = list[list[str]]


def differing_rows(found: Comparison) -> Rows:
    """Which settings differ, a header first."""
    rows = [[key, *(shown(str(value)) for value in values)] for key, values in found.differing]
    return [["setting", *(side.name for side in found.sides)], *rows]


def measure_rows(found: Comparison) -> Rows:
    """The measures of each side, a header first; of several tasksets one after the other."""
    every = [(side, one) for side in found.sides for one in side.measurements]
    if not every:
        return []
    header, *rows = table([one.measured for _, one in every])
    named = [
        [side.name, *([one.dataset] if found.several else []), *row]
        for (side, one), row in zip(every, rows, strict=True)
    ]
    return [["run", *(["dataset"] if found.several else []), *header], *named]


def source_lines(found: Comparison) -> list[str]:
    """Where the measures of each side are from."""
    nothing = "nothing was measured"
    return [
        f"{side.name}: {where}"
        for side in found.sides
        for where in [one.words for one in side.measurements] or [nothing]
    ]


def pairing_title(found: Comparison, pairing: Pairing) -> str:
    """The title above the tasks of two sides."""
    return f"Task by task: {pairing.one.dataset}" if found.several else "Task by task"


def curve_rows(found: Comparison) -> Rows:
    """Held-out success over the steps of each side, with the tokens trained on until then."""
    sides = [side for side in found.sides if side.curve]
    steps = sorted({step for side in sides for step in side.curve.steps})
    if not sides or len(steps) < 2:
        return []
    header = ["step", *(name for side in sides for name in (side.name, "tokens"))]
    rows = []
    for step in steps:
        cells = [str(step)]
        for side in sides:
            cells += [percent(side.curve.at(step)), number(side.tokens.at(step))]
        rows.append(cells)
    return [header, *rows]


def paired_lines(pairing: Pairing) -> list[str]:
    """The first side against another, in words."""
    found = pairing.found
    points = f"{100 * found.difference:+.1f} points {interval(found.low, found.high)}"
    return [
        f"{pairing.after.name} against {pairing.before.name}, on {found.tasks} shared tasks: "
        f"{percent(found.before)} -> {percent(found.after)}, {points}",
        f"{len(found.better)} tasks got better and {len(found.worse)} worse; "
        f"exact McNemar test: p = {found.p:.3g}",
    ]


def changed_rows(pairing: Pairing) -> Rows:
    """The first tasks that changed, with the answers of both sides, a header first."""
    rows = [["", "task", pairing.before.name, pairing.after.name]]
    for word, indices in (("better", pairing.found.better), ("worse", pairing.found.worse)):
        for index in indices[:MOST_TASKS]:
            one, two = pairing.rollouts(index)
            rows.append([word, title_of(one), answer_text(one), answer_text(two)])
    return rows


def answer_text(row: Rollout) -> str:
    """What a rollout came to, in a few words."""
    if row.get("error") is not None:
        return shown(f"failed: {row['error']}", MOST_ANSWER)
    return shown(str(row.get("answer") or f"reward {number(row.get('reward'))}"), MOST_ANSWER)


def terminal(found: Comparison) -> str:
    """For a terminal."""
    return "\n".join(_sections(found, aligned, "{}")) + "\n"


def markdown(found: Comparison) -> str:
    """As markdown."""
    return "\n".join(_sections(found, _markdown_table, "## {}")) + "\n"


def csv_text(found: Comparison) -> str:
    """The measures, the paired differences and every shared task, one table after the other."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerows(measure_rows(found))
    for pairing in found.pairings:
        writer.writerow([])
        names = (pairing.before.name, pairing.after.name)
        numbers = pairing.found
        measures = ["tasks", "difference", "low", "high", "p"]
        writer.writerow(["before", "after", *measures, "dataset"])
        shown = [getattr(numbers, name) for name in measures]
        writer.writerow([*names, *shown, pairing.one.dataset])
        writer.writerow([])
        writer.writerow(["row", "hash", "task", *names])
        for index, (place, digest) in enumerate(pairing.tasks):
            one, two = pairing.rollouts(index)
            rewards = [one.get("reward"), two.get("reward")]
            writer.writerow([place, digest, title_of(one), *rewards])
    return stream.getvalue()


def _sections(found: Comparison, as_table: Callable[[Rows], list[str]], title: str) -> list[str]:
    lines = [title.format("What differs"), ""]
    same = "Nothing that makes another result."
    lines += as_table(differing_rows(found)) if found.differing else [same]
    lines += ["", title.format("Measures"), ""]
    lines += source_lines(found)
    if rows := measure_rows(found):
        lines += ["", *as_table(rows)]
    if rows := curve_rows(found):
        lines += ["", title.format("Held-out success over steps and tokens"), "", *as_table(rows)]
    if found.unpaired:
        lines += ["", "Not all were asked the same tasks; evaluate them on the same dataset."]
    for pairing in found.pairings:
        lines += ["", title.format(pairing_title(found, pairing)), "", *paired_lines(pairing)]
        if len(rows := changed_rows(pairing)) > 1:
            lines += ["", *as_table(rows)]
    return lines


def _markdown_table(rows: Sequence[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    head, *rest = rows
    return [line(head), line(["---"] * len(head)), *map(line, rest)]
