"""Prepares report.html of a run; how it is written is left to templates/run.html.j2."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rlagent.base.signs import signs_in
from rlagent.base.stats import mean
from rlagent.base.words import duration, interval, number, percent
from rlagent.records.parents import lineage_words
from rlagent.records.rollouts import Rollout
from rlagent.records.summary import how_it_ended, seconds_spent
from rlagent.report.conversation import Turn, content_text, conversations_of, split_opening
from rlagent.report.curves import all_charts
from rlagent.report.data import Pair, ReportData
from rlagent.report.render import render

KIND_WORDS = {
    "learnt": ("good", "learnt"),
    "lost": ("bad", "lost"),
    "kept": ("good", "solved both times"),
    "unsolved": ("warn", "not solved"),
}

Tile = tuple[str, tuple[str, ...], str, str]
"""Label, values with an arrow between them, note, and class."""


@dataclass(frozen=True)
class Side:
    """A task's rollout before or after training: the row, and what was said after the opening."""

    name: str
    row: Rollout
    said: list[tuple[str, Sequence[Turn]]]


@dataclass(frozen=True)
class Task:
    """One held-out task as shown: whether it was learnt, what was asked, both sides."""

    style: str
    word: str
    question: str
    expected: str | None
    given: Sequence[Turn]
    sides: tuple[Side, Side]


def page(data: ReportData) -> str:
    """The whole page."""
    return render("run.html.j2", **run_values(data))


def run_values(data: ReportData) -> dict[str, Any]:
    """What run.html.j2 shows of a run."""
    status = data.status
    (wide, narrow), small = all_charts(data)
    return {
        "data": data,
        "status": status,
        "about": [
            f"{label} {status[key]}"
            for label, key in (("model", "model"), ("data", "dataset"), ("layout", "layout"))
            if status.get(key)
        ],
        "cause": "" if status.get("state") == "finished" else status.get("cause"),
        "tiles": tiles(data),
        "signs": signs_in(data.rows),
        "wide": wide,
        "narrow": narrow,
        "small": small,
        "counts": [f"{n} {KIND_WORDS[kind][1]}" for kind, n in data.pair_counts.items() if n],
        "tasks": [task_of(pair) for pair in data.pairs],
        "facts": facts(status),
        "files": [
            (name, text)
            for name, text in (
                ("config.yaml", data.config_yaml),
                ("trinity.yaml", data.trinity_yaml),
            )
            if text
        ],
    }


def tiles(data: ReportData) -> list[Tile]:
    """The headline numbers."""
    shown: list[Tile] = []
    if data.evaluations:
        first, last = data.evaluations[0], data.evaluations[-1]
        if first.step == last.step:
            shown.append(
                ("Held-out success", (percent(first.success),), f"at step {first.step}", "")
            )
        else:
            bounds = f"{interval(first.low, first.high)} and {interval(last.low, last.high)}"
            success = f"{100 * first.success:.1f}", percent(last.success)
            shown.append(("Held-out success", success, f"95 % intervals {bounds}", "wide"))
        if data.change:
            rise, low, high = (100 * value for value in data.change)
            shown.append(
                ("Change, points", (f"{rise:+.1f}",), f"95 % [{low:+.1f}, {high:+.1f}]", "")
            )
        if first.valid is not None and last.valid is not None:
            tasks = f"of {last.tasks} held-out tasks" if last.tasks else ""
            valid = f"{100 * first.valid:.1f}", percent(last.valid)
            shown.append(("Valid answers", valid, tasks, ""))
    if losses := data.series("eval/loss").values:
        first_and_last = (f"{losses[0]:.3f}", f"{losses[-1]:.3f}")
        shown.append(("Held-out loss", first_and_last, "nats per token of the assistant", "wide"))
    trained, asked = data.status.get("steps_trained") or 0, data.status.get("steps_asked")
    spent = seconds_spent(data.status)
    shown.append(
        ("Steps trained", (f"{trained} of {asked}" if asked else str(trained),),
         f"in {duration(spent)}" if spent else "", "")
    )  # fmt: skip
    speed = mean(data.series("tokens/per_second").values)
    if speed is not None:
        shown.append(("Tokens per second", (number(round(speed)),), "mean over steps", ""))
    return shown


def task_of(pair: Pair) -> Task:
    """One held-out task: its question and prompt, the expected answer, and both conversations."""
    style, word = KIND_WORDS[pair.kind]
    sides = (
        Side("Before", pair.before, list(conversations_of(pair.before))),
        Side("After", pair.after, list(conversations_of(pair.after))),
    )
    given = next((split_opening(side.said[0][1])[0] for side in reversed(sides) if side.said), [])
    for side in sides:
        # The first prompt stands above both sides.
        side.said[:1] = [(title, split_opening(turns)[1]) for title, turns in side.said[:1]]
    task = pair.after.get("task") or pair.before.get("task") or {}
    expected = task.get("answer", task.get("truth"))
    return Task(
        style,
        word,
        question(pair, task, given),
        None if expected is None else content_text(expected),
        given,
        sides,
    )


def question(pair: Pair, task: dict[str, Any], given: Sequence[Turn]) -> str:
    """What to call a task: its question, else the first thing a user says."""
    for key in ("question", "problem", "prompt", "instruction"):
        if task.get(key):
            return content_text(task[key])
    said = (turn.blocks[0].text for turn in given if turn.role == "user")
    return next(said, f"Task {pair.after.get('group')}")


def facts(status: dict[str, Any]) -> list[tuple[str, str]]:
    """How it ended, the attempts, and versions where they were recorded."""
    found = [("Ended", how_it_ended(status))]
    found += [
        (label, str(status[key]))
        for label, key in (
            ("Experiment", "experiment"),
            ("Trial", "trial_id"),
            ("Exit status", "exit_code"),
            ("Attempts", "attempt"),
        )
        if status.get(key) is not None
    ]
    if line := lineage_words(status.get("lineage") or []):
        found.append(("Started from", line))
    if isinstance(status.get("started"), (int, float)):
        when = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(status["started"]))
        found.append(("Last attempt began", when))
    if isinstance(versions := status.get("versions"), dict) and versions:
        known = (f"{name} {version or 'not installed'}" for name, version in versions.items())
        found.append(("Versions", ", ".join(known)))
    return found
