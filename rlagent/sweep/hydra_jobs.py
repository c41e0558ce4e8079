"""Jobs of a Hydra sweeper that is not ours (Ax, Nevergrad, ...): one batch becomes one grid.

Such a sweeper asks for a batch and waits for all of it; our own searches drive the pool themselves.
"""

from collections.abc import Sequence
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import JobReturn, JobStatus
from hydra.initialize import get_gh_backup, restore_gh_from_backup
from omegaconf import DictConfig, OmegaConf

from rlagent.base.errors import ConfigError
from rlagent.config.cluster import with_cluster
from rlagent.config.command import Command, parse_command, print_error
from rlagent.machine.resources import detect
from rlagent.records.sweep_store import FINISHED, INTERRUPTED, STOPPED, TrialRow
from rlagent.sweep import grid


class TrialFailedError(RuntimeError):
    """A trial did not finish; the message is its cause."""


def launch(
    config: DictConfig, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
) -> list[JobReturn]:
    """Run one batch of jobs and return their objectives, in order.

    Args:
        config: As Hydra composed it, with its own node.
        job_overrides: All overrides of each job.
        initial_job_idx: Jobs of earlier batches.

    Raises:
        SystemExit: With 2 when a job is wrongly configured, 1 when stopped, 130 when interrupted.
    """
    # Hydra composes for one application at a time, and ours composes each trial.
    theirs = get_gh_backup()
    GlobalHydra.instance().clear()
    try:
        return _launch(config, job_overrides, initial_job_idx)
    finally:
        restore_gh_from_backup(theirs)


def sweep(config: DictConfig) -> int:
    """Run the sweep that Hydra was asked for as `python -m rlagent.train -m` does.

    Args:
        config: As Hydra composed it, with its own node.

    Returns:
        The exit status; 2 when anything is wrongly configured.
    """
    from rlagent.sweep.begin import run

    theirs = get_gh_backup()
    GlobalHydra.instance().clear()
    try:
        return run(_command(config))
    except ConfigError as error:
        return print_error(error)
    finally:
        restore_gh_from_backup(theirs)


def _launch(
    config: DictConfig, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
) -> list[JobReturn]:
    from rlagent.sweep.main import Setup, folder_of, run_source

    typed = set(config.hydra.overrides.task)
    command = _command(config)
    choices = [
        grid.Choice(list(line), [text for text in line if text not in typed])
        for line in job_overrides
    ]
    try:
        shared = command.draft(multirun=True).config
        machine = with_cluster(detect(), shared.hardware)
        planned = grid.plan_choices(command, machine, choices, first=initial_job_idx)
        sweeper = str(config.hydra.sweeper.get("_target_", "hydra")).rsplit(".", 1)[-1]
        setup = Setup(command, shared, machine, sweeper, planned.parameters)
        source = grid.GridSource(planned.trials)
        code = run_source(setup, source, planned.trials, planned.notes)
    except ConfigError as error:
        raise SystemExit(print_error(error)) from error
    done = folder_of(setup).read()
    if done.state in (STOPPED, INTERRUPTED):
        # Otherwise the sweeper would run its next batch.
        raise SystemExit(code)
    rows = {row.trial_id: row for row in done.trials}
    return [
        _returned(line, rows[name]) for line, name in zip(job_overrides, planned.ids, strict=True)
    ]


def _returned(line: Sequence[str], row: TrialRow) -> JobReturn:
    if row.state == FINISHED:
        done = JobReturn(list(line), status=JobStatus.COMPLETED)
        done.return_value = row.objective
        return done
    failed = JobReturn(list(line), status=JobStatus.FAILED)
    failed.return_value = TrialFailedError(f"{row.failure or row.state}: {row.cause}")
    return failed


def _command(config: DictConfig) -> Command:
    """The command as it was typed, flags included."""
    words = ["-m", *config.hydra.overrides.task]
    for source in OmegaConf.to_container(config.hydra.runtime.config_sources) or []:
        data: Any = source
        if data["provider"] == "command-line":
            words += ["--config-dir", data["path"]]
    return parse_command(words)
