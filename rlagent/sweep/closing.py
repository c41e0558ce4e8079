"""What a sweep says at its end: the ranking, failures by class, where things are, how to go on."""

import shlex
from collections import Counter
from collections.abc import Sequence

from rlagent.base.words import number, python_command, short_path
from rlagent.config.overrides import key_of
from rlagent.records.objective import measured, ranked, unranked_lines
from rlagent.records.sweep_store import FAILED, FINISHED, PRUNED, Sweep, SweepFolder
from rlagent.report.sweep_names import shown, trial_command

SHOWN = 10
"""Most trials of the ranking that are printed; the report has all."""


def closing_words(
    sweep: Sweep,
    folder: SweepFolder,
    reproduce: Sequence[str] = (),
    illegal: tuple[int, int] = (0, 0),
) -> list[str]:
    """Return the last lines of a sweep.

    Args:
        sweep: As it ended.
        folder: Its folder.
        reproduce: Overrides and flags that all trials share, for the command of the best one.
        illegal: Suggestions of a search that were no legal configuration, and all of them.
    """
    counts = Counter(row.state for row in sweep.trials)
    said = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    lines = ["", f"{sweep.name} {sweep.state}: {said or 'no trial'}"]
    if illegal[0]:
        lines.append(
            f"no legal configuration: {illegal[0]} of {illegal[1]} suggestions, recorded as failed"
        )
    lines += _ranking(sweep, folder)
    lines += unranked_lines(sweep)
    lines += failure_lines(sweep)
    lines.append(f"folder: {short_path(folder.path)}")
    if folder.report_html.is_file():
        lines.append(f"report: {short_path(folder.report_html)}")
    best = sweep.best()
    if best is not None:
        run = folder.run_folder(best)
        lines.append(f"best trial: {short_path(run.path)}")
        lines.append(f"  {trial_command(best, reproduce)}")
    if counts.keys() - {FINISHED, PRUNED}:
        # A sweep that began with run.fresh is resumed without it.
        argv = [word for word in sweep.argv if key_of(word) != "run.fresh"]
        words = shlex.join([python_command(), "-m", "rlagent.train", *shown(argv)])
        lines.append(f"to finish what is unfinished:\n  {words}")
    return lines


def failure_lines(sweep: Sweep) -> list[str]:
    """Failures by class, the most frequent first, each trial with its cause."""
    failed = [row for row in sweep.trials if row.state == FAILED]
    lines = []
    for name, count in Counter(row.failure or "unknown" for row in failed).most_common():
        lines.append(f"failed, {name}: {count}")
        for row in failed:
            if (row.failure or "unknown") == name:
                overrides = " ".join(shown(row.overrides))
                lines.append(f"  trial {row.number + 1} ({overrides}): {row.cause}")
    return lines


def _ranking(sweep: Sweep, folder: SweepFolder) -> list[str]:
    rows = ranked(sweep)
    finished = [row for row in sweep.trials if row.state == FINISHED and not row.unranked]
    if not rows and finished:
        known = ", ".join(measured(folder.run_folder(finished[0]))) or "nothing"
        return [f"{sweep.metric} was not measured by any trial; measured were {known}"]
    lines = [f"by {sweep.metric} ({sweep.direction}):"] if rows else []
    for place, row in enumerate(rows[:SHOWN], start=1):
        note = " (pruned)" if row.state == PRUNED else ""
        value = number(row.objective)
        lines.append(f"  {place:>2}. {value:<8} {' '.join(shown(row.overrides))}{note}")
    if len(rows) > SHOWN:
        lines.append(f"  ... {len(rows) - SHOWN} more")
    return lines
