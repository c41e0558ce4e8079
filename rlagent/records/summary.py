"""What is said when a run has ended: how, what it brought, where things are, what to do next.

Pure text from the run folder; display.py prints it, the report shows the same sentences.
"""

import shlex
from collections.abc import Sequence
from typing import Any

from rlagent.base.stats import difference
from rlagent.base.words import duration, percent, python_command, short_path
from rlagent.records.checkpoints import best_step, kept_checkpoints
from rlagent.records.folder import DIED, RunFolder
from rlagent.records.progress import Evaluation, evaluation

LOGICAL = "on logical GPUs, a CPU in truth: timings say nothing about GPUs"
"""The stamp of a run on logical GPUs."""


def how_it_ended(status: dict[str, Any]) -> str:
    """One sentence: the state, the steps, and the cause where there is one."""
    state = status.get("state", "unknown")
    trained, asked = status.get("steps_trained") or 0, status.get("steps_asked")
    steps = f"{trained} of {asked} steps" if asked else f"{trained} steps"
    cause = status.get("cause") or ""
    words = {
        "finished": f"Finished: {steps} trained",
        "failed": f"Failed after {steps}",
        "stopped": f"Stopped on request after {steps}",
        "interrupted": f"Interrupted after {steps}",
        "running": f"Running: {steps} so far",
        "starting": "Starting",
        DIED: f"Died after {steps}: its process ended without a final status; the same command "
        "resumes it",
    }
    sentence = words.get(state, f"State {state}: {steps}")
    spent = seconds_spent(status)
    if spent and state in ("finished", "failed", "stopped", "interrupted"):
        sentence += f", in {duration(spent)}"
    if cause and state == "failed":
        return f"{sentence}: {cause}"
    # Of the other states the sentence itself is the cause, up to what went wrong beside it.
    _, _, lost = cause.partition("; ")
    return f"{sentence}; {lost}." if lost else f"{sentence}."


def seconds_spent(status: dict[str, Any]) -> float | None:
    """Seconds from the start of the last attempt to its last status."""
    started, updated = status.get("started"), status.get("updated")
    if not isinstance(started, (int, float)) or not isinstance(updated, (int, float)):
        return None
    return max(0.0, updated - started)


def evaluations(rows: Sequence[dict[str, Any]]) -> list[Evaluation]:
    """The held-out measurements among merged rows, by step."""
    return [found for row in rows if (found := evaluation(row)) is not None]


def success_lines(measured: Sequence[Evaluation]) -> list[str]:
    """Held-out success before and after with 95 % intervals, the rise, and the valid share."""
    if not measured:
        return ["Held-out success was not measured."]
    first, last = measured[0], measured[-1]
    if first.step == last.step:
        return [f"Held-out success  {first} at step {first.step}"]
    lines = [
        f"Held-out success  before  {first}",
        f"                  after   {last}",
    ]
    if first.tasks and last.tasks:
        low, high = difference(first.success, first.tasks, last.success, last.tasks)
        rise = 100 * (last.success - first.success)
        lines.append(
            f"                  change  {rise:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]"
            ", 95 % intervals"
        )
    if first.valid is not None and last.valid is not None:
        lines.append(f"Valid answers     {percent(first.valid)} -> {percent(last.valid)}")
    return lines


def loss_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Held-out loss before and after, given the trainer's merged rows; none where it is not
    measured."""
    found = [
        (row["step"], row["metrics"]["eval/loss"]) for row in rows if "eval/loss" in row["metrics"]
    ]
    if not found:
        return []
    each = "nats per token of the assistant"
    (first, before), (last, after) = found[0], found[-1]
    if first == last:
        return [f"Held-out loss     {before:.3f} at step {first}, {each}"]
    return [f"Held-out loss     {before:.3f} at step {first} -> {after:.3f} at step {last}, {each}"]


def empty_step_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """How many of the trained steps changed nothing, given the trainer's merged rows."""
    counts = [row["metrics"].get("sample/experiences") for row in rows]
    empty = counts.count(0.0)
    return [f"{empty} of {len(counts)} trained steps had nothing to train on."] if empty else []


def place_lines(folder: RunFolder, mirror: str | None = None) -> list[str]:
    """Where the run's things are; only those that exist."""
    attempt = folder.attempt()
    places: list[tuple[str, Any]] = [
        ("run folder", folder.path),
        ("report", folder.report_html),
        ("picture", folder.reward_png),
        ("checkpoints", folder.checkpoints),
        ("log", attempt.driver_log if attempt else None),
    ]
    lines = [f"  {label:<13}{short_path(path)}" for label, path in places if path and path.exists()]
    if mirror:
        lines.append(f"  {'mirror':<13}{mirror}")
    return lines


def next_lines(status: dict[str, Any], folder: RunFolder, command: str | None) -> list[str]:
    """The commands for the next thing to do.

    Args:
        status: The final status.
        folder: The run.
        command: For a finished run the command that trains longer, else the one that resumes;
            None when it is not known.
    """
    finished = status.get("state") == "finished"
    report = f"{python_command()} -m rlagent.report {short_path(folder.path)} --format markdown"
    lines = []
    if command:
        label = "to train on" if finished else "to resume"
        lines += [f"Next, {label}:", f"  {command}"]
    lines += ["To see the numbers here:", f"  {report}"]
    return [*lines, *after_lines(folder)]


def after_lines(folder: RunFolder) -> list[str]:
    """The commands for what a run's checkpoints are for, and for looking at it; none without a
    checkpoint."""
    steps = [kept.step for kept in kept_checkpoints(folder) if kept.folder]
    if not steps:
        return []
    run = shlex.quote(short_path(folder.path))
    # Where no kept step was measured, the best one is not known.
    step = "" if best_step(folder, steps) else " --step last"
    return [
        "To measure it better, look at it in a browser, talk to it, serve it, ship it:",
        *(
            f"  {python_command()} -m rlagent.{words}"
            for words in (
                f"evaluate {run} evaluate.samples=4",
                f"view {run}",
                f"chat {run}{step}",
                f"serve {run}{step}",
                f"export {run}{step} --to {shlex.quote(f'{folder.name}-model')}",
            )
        ),
    ]


def summary_lines(
    status: dict[str, Any],
    folder: RunFolder,
    command: str | None = None,
    mirror: str | None = None,
) -> list[str]:
    """All of the above, for the end of a run."""
    stamp = status.get("stamp")
    trainer = folder.read_metrics("trainer")
    losses, measured = loss_lines(trainer), evaluations(folder.read_metrics("explorer"))
    return [
        how_it_ended(status),
        *([stamp] if stamp else []),
        *empty_step_lines(trainer),
        "",
        *losses,
        *(success_lines(measured) if measured or not losses else ()),
        "",
        *place_lines(folder, mirror),
        "",
        *next_lines(status, folder, command),
    ]
