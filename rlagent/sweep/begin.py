"""`-m`: from a command to the source of its trials: a grid, a search or a sweeper of Hydra's."""

from rlagent.config.cluster import with_cluster
from rlagent.config.command import Command, run_hydra
from rlagent.machine.resources import detect
from rlagent.sweep import grid, mistakes
from rlagent.sweep.main import Setup, run_source
from rlagent.sweep.search.start import is_search, run_search

BASIC = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
"""Hydra's own sweeper: a grid."""
OURS = "hydra_plugins.rlagent_sweeper.RlagentSweeper"
"""The default: a grid, or a search when sweep.sampler names one."""


def run(command: Command) -> int:
    """Run the sweep that a command asks for; returns the exit status.

    Raises:
        ConfigError: With every mistake of every trial; then none has started.
    """
    base = command.draft(multirun=True)
    machine = with_cluster(detect(), base.config.hardware)
    mistakes.raise_if_any(command, machine, base)
    if base.sweeper.get("_target_") not in (BASIC, OURS):
        # A sweeper that is not ours hands its jobs to our launcher, see hydra_jobs.py.
        return run_hydra(command)
    if is_search(base):
        return run_search(command, machine, base)
    planned = grid.plan(command, machine, base)
    setup = Setup(command, base.config, machine, "grid", planned.parameters)
    source = grid.GridSource(planned.trials)
    return run_source(setup, source, planned.trials, planned.notes)
