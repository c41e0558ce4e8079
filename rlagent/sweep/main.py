"""Runs the trials of a source to their end; what they are is grid.py's, how they run pool.py's."""

import contextlib
import os
import socket
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass

from rlagent.base.cause import cause_of
from rlagent.base.errors import raise_if_any
from rlagent.base.lock import locked
from rlagent.base.paths import expand_user
from rlagent.base.words import short_path
from rlagent.config.command import Command
from rlagent.config.schema import LearnConfig
from rlagent.machine.resources import Machine
from rlagent.records import leftovers
from rlagent.records.files import DamagedError, set_aside
from rlagent.records.sweep_store import INTERRUPTED, RUNNING, NewerError, Sweep, SweepFolder
from rlagent.report.sweep_names import shared_words
from rlagent.sweep import grid, handover
from rlagent.sweep.closing import closing_words
from rlagent.sweep.common import (
    added,
    command_line,
    impossible,
    is_done,
    is_from_scratch,
    resources_for,
    sweep_id,
    uses_cluster,
)
from rlagent.sweep.live_table import SweepDisplay, make_display
from rlagent.sweep.options import Options
from rlagent.sweep.pool import EXIT_FAILED, run_sweep
from rlagent.sweep.shares import Resources, least_of
from rlagent.sweep.source import Source, Trial, row_of
from rlagent.sweep.unmirrored import Unmirrored


@dataclass(frozen=True)
class Setup:
    """What a sweep of any source starts with.

    Args:
        command: As typed.
        config: What all trials share; swept keys are at their defaults.
        machine: What there is.
        sweeper: grid, or the name of the search.
        parameters: Keys that differ between trials.
    """

    command: Command
    config: LearnConfig
    machine: Machine
    sweeper: str
    parameters: Sequence[str]


def run_source(
    setup: Setup, source: Source, known: Sequence[Trial], notes: Sequence[str] = ()
) -> int:
    """Run the trials of a source to their end, and say how it went.

    Args:
        setup: What they share.
        source: Where they come from.
        known: Trials that are known before the first starts; for a search a few that stand for
            what it may suggest, of which none is shown. They tell what the trials share.
        notes: Lines to say first.

    Returns:
        The exit status.

    Raises:
        ConfigError: A trial can never run here.
    """
    shared = uses_cluster([trial.resolved for trial in known])
    resources = resources_for(
        setup.machine,
        [trial.resolved for trial in known],
        setup.config.sweep.max_parallel,
        os.environ.get("CUDA_VISIBLE_DEVICES"),
    )
    raise_if_any(impossible(known, resources, shared))
    config, folder = setup.config, folder_of(setup)
    folder.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(folder.path) as lock, Unmirrored(folder) as unmirrored:
        if lock is None:
            print(f"{short_path(folder.path)} is run by {_holder(folder)}", file=sys.stderr)
            return EXIT_FAILED
        is_grid = isinstance(source, grid.GridSource)
        try:
            earlier, damaged = _earlier(folder)
        except NewerError as error:
            print(error, file=sys.stderr)
            return EXIT_FAILED
        sweep = _sweep(setup, folder, known, is_grid, earlier)
        options = Options(
            argv=lambda trial: command_line(trial, setup.command, folder.name, shared),
            derive=lambda trial, cores, more: handover.derived(
                trial,
                {**added(trial, folder.name, shared), **more},
                cores,
                setup.command.config_dirs,
            ),
            retries=config.sweep.retries,
            stop_on_failure=config.sweep.on_failure == "stop",
            lookahead=len(known) if is_grid else 1,
            least=None if is_grid else least_of([trial.need for trial in known]),
            own_gpus=not shared,
            is_done=is_done,
            is_from_scratch=is_from_scratch,
            on_failed=unmirrored.failed,
        )
        display = make_display(config.run.display)
        try:
            for line in [*damaged, *notes, *_first_words(setup, folder, known, resources)]:
                display.message(line)
            code = run_sweep(folder, sweep, source, resources, options, display)
        finally:
            display.close()
        for line in unmirrored.finish():
            display.message(line)
        _write_report(folder, display)
        for line in closing_words(sweep, folder, shared_words(sweep), source.illegal()):
            display.message(line)
        return code


def folder_of(setup: Setup) -> SweepFolder:
    """Return the folder of a sweep: {run.dir}/sweep-{run.name}-{sweep id}.

    Swept values do not count: a sweep to which values are added goes on in its folder.
    """
    run = setup.config.run
    name = sweep_id(setup.command.overrides, setup.parameters, setup.sweeper)
    return SweepFolder(expand_user(run.dir) / f"sweep-{run.name}-{name}")


def _holder(folder: SweepFolder) -> str:
    """Who runs a sweep, in words."""
    try:
        return f"process {folder.read().pid}" if folder.exists() else "another process"
    except DamagedError as error:
        return f"another process, and {error}"


def _earlier(folder: SweepFolder) -> tuple[Sweep | None, list[str]]:
    """The sweep of an earlier launch, if any, and what is to be said when its file is damaged.

    Raises:
        NewerError: A newer version has written it.
    """
    try:
        return (folder.read() if folder.exists() else None), []
    except NewerError:
        raise
    except DamagedError as error:
        return None, [f"{error}; it is kept as {set_aside(folder.sweep_json).name}"]


def _sweep(
    setup: Setup,
    folder: SweepFolder,
    known: Sequence[Trial],
    is_grid: bool,
    earlier: Sweep | None,
) -> Sweep:
    """The sweep as it stands: rows of an earlier launch are kept, those of a grid's trials added.

    What an earlier launch ranked is ranked again, by what this one compares.
    """
    config = setup.config
    sweep = Sweep(
        name=folder.name,
        sweep_id=folder.name.rsplit("-", 1)[-1],
        argv=list(setup.command.argv),
        metric=config.sweep.metric,
        direction=config.sweep.direction,
        sweeper=setup.sweeper,
        parameters=list(setup.parameters),
        machine=setup.machine.words(),
        host=socket.gethostname(),
        started=earlier.started if earlier else 0.0,
    )
    rows = {row.trial_id: row for row in earlier.trials} if earlier else {}
    for trial in known if is_grid else ():
        row = rows.pop(trial.trial_id, None) or row_of(trial, folder)
        row.number, row.overrides = trial.number, list(trial.differing)
        row.estimated_step_s = trial.estimated_step_s
        sweep.trials.append(row)
    taken = {row.number for row in sweep.trials}
    steps = {int(trial.resolved.config.algorithm.total_steps) for trial in known}
    for row in rows.values():
        if row.number in taken:
            row.number = max(taken) + 1
        taken.add(row.number)
        if row.state == RUNNING:
            # Its launcher was killed.
            row.state = INTERRUPTED
        leftovers.judge(row, folder.run_folder(row), sweep.metric, steps)
        sweep.trials.append(row)
    sweep.trials.sort(key=lambda row: row.number)
    return sweep


def _first_words(
    setup: Setup, folder: SweepFolder, known: Sequence[Trial], resources: Resources
) -> list[str]:
    lines = [f"machine: {setup.machine.words()}"]
    if resources.kind != "GPU":
        lines.append(f"{len(resources.gpus)} logical GPUs: timings say nothing about GPUs")
    if setup.sweeper == "grid":
        count = len(known)
        lines.append(f"{count} trial{'' if count == 1 else 's'} in {short_path(folder.path)}")
    warnings = dict.fromkeys(line for trial in known for line in trial.resolved.warnings)
    return [*lines, *(f"each: {line}" for line in warnings)]


def _write_report(folder: SweepFolder, display: SweepDisplay) -> None:
    """Write the page of the sweep; that this fails must not hide how its trials did."""
    from rlagent.report.sweep import write_sweep_report

    try:
        write_sweep_report(folder, display.message)
    except Exception as error:
        display.message(f"the report could not be written: {cause_of(error)}")
        # On a full disk, for which the report failed, what was said must do.
        with contextlib.suppress(OSError):
            (folder.path / "report_error.log").write_text(traceback.format_exc(), encoding="utf-8")
