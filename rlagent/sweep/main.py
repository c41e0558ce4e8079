"""`-m`: from a command to a sweep that has run; planning is grid.py's, running trials pool.py's."""

import contextlib
import fcntl
import hashlib
import json
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlagent.config.command import Command, run_hydra
from rlagent.config.errors import Problem, raise_if_any
from rlagent.config.identity import LEFT_OUT
from rlagent.config.machine import Machine, detect
from rlagent.config.overrides import is_sweep
from rlagent.config.resolve import Resolved
from rlagent.config.schema import AUTO, LearnConfig
from rlagent.run.folder import RunFolder
from rlagent.run.words import short_path
from rlagent.sweep import grid
from rlagent.sweep.display import SweepDisplay, make_display
from rlagent.sweep.pool import EXIT_FAILED, Options, row_of, run_sweep
from rlagent.sweep.search.start import is_search, run_search
from rlagent.sweep.shares import Resources, gpu_ids, least_of, never
from rlagent.sweep.source import Source, Trial
from rlagent.sweep.store import INTERRUPTED, RUNNING, Sweep, SweepFolder
from rlagent.sweep.words import closing_words

BASIC = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
"""Hydra's own sweeper: a grid."""
OURS = "hydra_plugins.rlagent_sweeper.RlagentSweeper"
"""The default: a grid, or a search when sweep.sampler names one."""


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


def run(command: Command) -> int:
    """Run the sweep that a command asks for; returns the exit status.

    Raises:
        ConfigError: With every mistake of every trial; then none has started.
    """
    base = command.draft(multirun=True)
    raise_if_any(base.problems)
    if base.sweeper.get("_target_") not in (BASIC, OURS):
        # A sweeper that is not ours hands its jobs to our launcher, see hydra_jobs.py.
        return run_hydra(command)
    machine = detect()
    if is_search(base):
        return run_search(command, machine, base)
    planned = grid.plan(command, machine, base)
    setup = Setup(command, base.config, machine, "grid", planned.parameters)
    source = grid.GridSource(planned.trials)
    return run_source(setup, source, planned.trials, planned.notes)


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
    with _locked(folder) as lock:
        if lock is None:
            holder = folder.read().pid if folder.exists() else None
            print(f"{short_path(folder.path)} is run by process {holder}", file=sys.stderr)
            return EXIT_FAILED
        is_grid = isinstance(source, grid.GridSource)
        sweep = _sweep(setup, folder, known if is_grid else ())
        options = Options(
            argv=lambda trial: command_line(trial, setup.command, folder.name, shared),
            retries=config.sweep.retries,
            stop_on_failure=config.sweep.on_failure == "stop",
            lookahead=len(known) if is_grid else 1,
            least=None if is_grid else least_of([trial.need for trial in known]),
            own_gpus=not shared,
            is_done=is_done,
        )
        display = make_display(config.run.display)
        try:
            for line in [*notes, *_first_words(setup, folder, known, resources)]:
                display.message(line)
            code = run_sweep(folder, sweep, source, resources, options, display)
        finally:
            display.close()
        _write_report(folder, display)
        for line in closing_words(sweep, folder, reproduce=_reproduce(setup)):
            display.message(line)
        return code


def command_line(trial: Trial, command: Command, group: str, shared: bool) -> list[str]:
    """Return the command line of a trial's process.

    What is added to the trial's own overrides is outside of its identity.

    Args:
        trial: The trial.
        command: The sweep's, for its flags.
        group: Name of the sweep.
        shared: Whether it joins the user's cluster.
    """
    line = [sys.executable, "-m", "rlagent.train", *trial.overrides]
    composed = trial.resolved.composed
    if not shared:
        line.append("hardware.ray=start")
    if composed.monitor.type != "local":
        if composed.monitor.group is None:
            line.append(f"monitor.group={_quoted(group)}")
        if composed.monitor.name is None:
            line.append(f"monitor.name={_quoted(' '.join(trial.differing) or group)}")
    return [*line, *flags_of(command)]


def flags_of(command: Command) -> list[str]:
    """Return the flags that a trial needs too."""
    flags, line = command.flags, []
    for flag, value in (
        ("--config-dir", flags.config_dir),
        ("--config-name", flags.config_name),
        ("--config-path", flags.config_path),
    ):
        if value:
            line += [flag, value]
    return line


def folder_of(setup: Setup) -> SweepFolder:
    """Return the folder of a sweep: {run.dir}/sweep-{run.name}-{sweep id}.

    Swept values do not count: a sweep to which values are added goes on in its folder.
    """
    run = setup.config.run
    name = sweep_id(setup.command.overrides, setup.parameters, setup.sweeper)
    return SweepFolder(Path(run.dir) / f"sweep-{run.name}-{name}")


def sweep_id(overrides: Sequence[str], parameters: Sequence[str], sweeper: str) -> str:
    """Return the id of a sweep from its fixed overrides, its swept keys and its sweeper.

    Overrides that leave a trial's identity alone are left out; order does not count.

    >>> one = sweep_id(["model=tiny", "seed=1,2"], ["seed"], "grid")
    >>> one == sweep_id(["seed=1,2,3", "run.dir=/tmp", "model=tiny"], ["seed"], "grid")
    True
    """
    fixed = [text for text in overrides if not is_sweep(text) and _counts(grid.key_of(text))]
    data = json.dumps([sorted(fixed), sorted(set(parameters)), sweeper])
    return hashlib.sha256(data.encode()).hexdigest()[:8]


def _counts(key: str) -> bool:
    group, _, name = key.partition(".")
    if key == "run.name":
        return True
    if group not in LEFT_OUT:
        return group != "hydra" or name.startswith("sweeper")
    fields = LEFT_OUT[group]
    # A preset of a sweep counts, its single settings do not.
    return (fields is None and key == "sweep") or (fields is not None and name not in fields)


def uses_cluster(trials: Sequence[Resolved]) -> bool:
    """Whether trials join a cluster that the user has, rather than start a Ray of their own."""
    hardware = [resolved.config.hardware for resolved in trials]
    return any(int(h.nodes) > 1 or h.ray not in (AUTO, "start") for h in hardware)


def resources_for(
    machine: Machine,
    trials: Sequence[Resolved],
    max_parallel: int | str,
    visible: str | None,
) -> Resources:
    """Return what the trials share.

    Args:
        machine: What there is.
        trials: Those that are known.
        max_parallel: sweep.max_parallel.
        visible: CUDA_VISIBLE_DEVICES of the launcher.
    """
    most = max_parallel if isinstance(max_parallel, int) else None
    hardware = [resolved.config.hardware for resolved in trials]
    logical = max((h.logical_gpus for h in hardware), default=0)
    if logical:
        gpus = tuple(str(index) for index in range(logical))
        return Resources(gpus, machine.cores, machine.memory_gib, most, "logical GPU")
    if uses_cluster(trials):
        count = max(int(h.nodes) * int(h.gpus) for h in hardware)
        # Of the other nodes' cores and memory nothing is known here; GPUs are what is scarce.
        gpus = tuple(str(index) for index in range(count))
        return Resources(gpus, sys.maxsize, float("inf"), most)
    gpus = gpu_ids(len(machine.gpus), visible)
    return Resources(gpus, machine.cores, machine.memory_gib, most)


def impossible(trials: Sequence[Trial], resources: Resources, shared: bool) -> list[Problem]:
    """Return a problem for each trial that can never run."""
    problems = []
    for trial in trials:
        layout, words = trial.resolved.layout, " ".join(trial.differing)
        reason = never(trial.need, resources)
        embedded = trial.resolved.config.hardware.engine == "embedded"
        if reason is None and shared and layout.colocated and not embedded:
            reason = "engine and trainer on one GPU need a Ray of their own, not a shared cluster"
        if reason is not None:
            remedy = f"(trial {trial.number + 1}: {words})" if words else ""
            problems.append(Problem("hardware.layout", str(layout), reason, remedy))
    return problems


def is_done(trial: Trial, folder: RunFolder) -> bool:
    """Whether the run folder of a trial holds all that is asked, so that no process is needed."""
    from rlagent.trinity import decide
    from rlagent.trinity.record import make_record, read_record

    status = folder.read_status()
    config = trial.resolved.config
    if status.get("state") != "finished" or config.run.fresh:
        return False
    decision = decide.decide(
        status,
        read_record(folder),
        make_record(trial.resolved, None),
        int(config.algorithm.total_steps),
        fresh=False,
    )
    return decision.action is decide.Action.NOTHING


def _sweep(setup: Setup, folder: SweepFolder, known: Sequence[Trial]) -> Sweep:
    """The sweep as it stands: rows of an earlier launch are kept, those of new trials added."""
    earlier = folder.read() if folder.exists() else None
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
    for trial in known:
        row = rows.pop(trial.trial_id, None) or row_of(trial, folder)
        row.number, row.overrides = trial.number, list(trial.differing)
        row.estimated_step_s = trial.estimated_step_s
        sweep.trials.append(row)
    taken = {row.number for row in sweep.trials}
    for row in rows.values():
        if row.number in taken:
            row.number = max(taken) + 1
        taken.add(row.number)
        if row.state == RUNNING:
            # Its launcher was killed.
            row.state = INTERRUPTED
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


def _reproduce(setup: Setup) -> list[str]:
    """What a trial's command needs beside what sets it apart."""
    fixed = [text for text in setup.command.overrides if not is_sweep(text)]
    fixed = [text for text in fixed if not grid.key_of(text).startswith("hydra.")]
    return [*fixed, *flags_of(setup.command)]


def _write_report(folder: SweepFolder, display: SweepDisplay) -> None:
    """The one place where a sweep's report is written; see rlagent.report.sweep."""


@contextlib.contextmanager
def _locked(folder: SweepFolder) -> Iterator[object | None]:
    """Hold the sweep folder for this process; None when another launcher does."""
    folder.path.mkdir(parents=True, exist_ok=True)
    with (folder.path / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        yield file


def _quoted(text: str) -> str:
    """A text as Hydra's grammar reads it back, whatever it holds."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
