"""From a command to a search in the pool; `rlagent plan -m` prints what it would do.

Optuna is imported only when a search really starts.
"""

import hashlib
import os
from collections.abc import Sequence

from rlagent.base.errors import raise_if_any
from rlagent.config.command import Command
from rlagent.config.compose import Draft
from rlagent.config.schema import AUTO, SweepConfig
from rlagent.machine.resources import Machine
from rlagent.sweep.common import impossible_here
from rlagent.sweep.grid import of_no_use
from rlagent.sweep.main import Setup, folder_of, run_source
from rlagent.sweep.search.corners import check_corners, make_trial
from rlagent.sweep.search.pruning import idle_pruner
from rlagent.sweep.search.space import TRIALS, Space, space_of
from rlagent.sweep.source import Trial

NO_SEARCH = "none"
"""sweep.sampler of a grid, which the pool plans itself."""


def is_search(base: Draft) -> bool:
    """Whether a command asks for a search rather than a grid of all values."""
    return base.config.sweep.sampler != NO_SEARCH


def run_search(command: Command, machine: Machine, base: Draft) -> int:
    """Search; returns the exit status.

    Raises:
        ConfigError: With every mistake of the space, its corners and the search; nothing ran.
    """
    space = space_of(command, base)
    corners = check_corners(command, machine, space, base.config.sweep)
    settings, config = base.config.sweep, corners[0].resolved.config
    setup = Setup(command, base.config, machine, f"optuna-{settings.sampler}", space.names)

    from rlagent.sweep.search.study import OptunaSource

    silent = base.config.run.display == "none"
    source = OptunaSource(
        folder_of(setup).path,
        space,
        settings,
        int(config.algorithm.total_steps),
        config.algorithm.eval_interval,
        make=lambda number, values: make_trial(command, machine, space, number, values),
        say=(lambda line: None) if silent else print,
        content=content_of(corners),
        fresh=base.config.run.fresh,
    )
    return run_source(setup, source, corners, describe(space, settings, corners))


def content_of(corners: Sequence[Trial]) -> str:
    """Return a fingerprint of the workflow's source and of the data of all corners."""
    from rlagent.launch.record import make_record

    found = set()
    for trial in corners:
        record = make_record(trial.resolved, None)
        found.add(f"{record['workflow']} {record['dataset']}")
    return hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()[:8]


def plan_search(command: Command, machine: Machine, base: Draft) -> str:
    """Return the space and its corners in words, each corner composed, checked and resolved.

    Raises:
        ConfigError: With every mistake of the space, its corners and the search, or with what of
            them can never run here.
    """
    space = space_of(command, base)
    settings = base.config.sweep
    corners = check_corners(command, machine, space, settings, plan_only=True)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    raise_if_any(impossible_here(machine, corners, settings.max_parallel, visible))
    lines = describe(space, settings, corners)
    for trial in corners:
        layout = trial.resolved.layout
        lines.append(f"corner {' '.join(trial.differing)}: legal, layout {layout}")
    return "".join(f"# {line}\n" for line in lines)


def describe(space: Space, settings: SweepConfig, corners: Sequence[Trial]) -> list[str]:
    """Return what is searched, how and by what, one line each."""
    checked = len(corners)
    count = settings.n_trials
    if count == AUTO:
        every = sum(1 for _ in space.combinations()) if settings.sampler == "grid" else 0
        count = every or TRIALS
    pruned = "" if settings.pruner == "none" else f", pruned by {settings.pruner}"
    lines = [f"search: {settings.direction} {settings.metric} in {count} trials"]
    lines[0] += f" ({settings.sampler}{pruned})"
    lines += [f"space: {each.name} in {each.words()}" for each in space.dimensions]
    lines.append(f"checked: {checked} corner{'' if checked == 1 else 's'} of the space")
    lines += idle_pruner(settings, corners[0].resolved.config) if corners else []
    return lines + of_no_use(settings, ["max_trials"], "a search takes sweep.n_trials")
