"""From a point of the space to a trial, and the corners of the space before the first one starts.

Light: composing, checking and resolving only. What is suggested and learnt is study.py's.
"""

import dataclasses
from collections.abc import Sequence

from rlagent.base.errors import ConfigError, Problem, raise_if_any
from rlagent.config.command import Command
from rlagent.config.metric_names import EVALUATED
from rlagent.config.overlay import Shared
from rlagent.config.overrides import key_of
from rlagent.config.prepare import prepare
from rlagent.config.schema import LearnConfig, SweepConfig
from rlagent.machine.resources import Machine
from rlagent.sweep import grid
from rlagent.sweep.search.space import Space
from rlagent.sweep.shares import need_of
from rlagent.sweep.source import Trial


def make_trial(
    command: Command,
    machine: Machine,
    space: Space,
    number: int,
    values: Sequence[str],
    plan_only: bool = False,
    shared: Shared | None = None,
) -> Trial:
    """Compose, check and resolve one point of the space.

    Args:
        command: The sweep's command.
        machine: What there is.
        space: What differs.
        number: The trial's place in the sweep.
        values: One per dimension, as overrides write them.
        plan_only: Do not ask whether this machine has the GPUs.
        shared: What the drafts of other points found.

    Raises:
        ConfigError: The point is no legal configuration.
    """
    differing = space.overrides(values)
    overrides = [*space.fixed, *differing]
    draft = command.draft(overrides, shared=shared)
    resolved = prepare(draft, machine, command.config_dirs, plan_only)
    return Trial(
        number=number,
        overrides=tuple(overrides),
        differing=tuple(differing),
        params=grid.params_of(differing),
        resolved=resolved,
        need=need_of(resolved.config, resolved.layout),
    )


def check_corners(
    command: Command,
    machine: Machine,
    space: Space,
    settings: SweepConfig,
    plan_only: bool = False,
) -> list[Trial]:
    """Return the corners of the space as trials; none of them is meant to run.

    Args:
        command: The sweep's command.
        machine: What there is.
        space: What differs.
        settings: The sweep's.
        plan_only: Do not ask whether this machine has the GPUs.

    Raises:
        ConfigError: With every mistake of every corner and of the search itself.
    """
    corners, found, shared = space.corners(), [], Shared()
    mistakes: dict[str, tuple[Problem, list[str]]] = {}
    for number, values in enumerate(corners):
        try:
            found.append(make_trial(command, machine, space, number, values, plan_only, shared))
        except ConfigError as error:
            for problem in error.problems:
                where = mistakes.setdefault(str(problem), (problem, []))[1]
                where.append(" ".join(space.overrides(values)))
    problems = [_placed(*entry, len(corners)) for entry in mistakes.values()]
    problems += search_problems(settings, space)
    problems += identity_problems(found)
    if found:
        problems += measuring_problems([trial.resolved.config for trial in found])
    raise_if_any(problems)
    return found


def identity_problems(corners: Sequence[Trial]) -> list[Problem]:
    """Return the keys outside the trial's identity.

    Otherwise the sampler would get one run's result for every point along such a key.

    Args:
        corners: Those that are legal.
    """
    first: dict[tuple[str, ...], Trial] = {}
    problems: dict[str, Problem] = {}
    for trial in corners:
        for index, text in enumerate(trial.differing):
            key = key_of(text)
            rest = (*trial.differing[:index], key, *trial.differing[index + 1 :])
            other = first.setdefault(rest, trial)
            if other.trial_id != trial.trial_id or grid.same(other.resolved, trial.resolved):
                continue
            problem = grid.no_run_of_its_own(text, other.differing[index])
            problems.setdefault(key, problem)
    return list(problems.values())


def search_problems(sweep: SweepConfig, space: Space) -> list[Problem]:
    """Return what the sampler cannot do with this space."""
    if sweep.sampler == "grid":
        try:
            space.combinations()
        except ConfigError as error:
            return error.problems
    numbers = [dimension.name for dimension in space.dimensions if dimension.numeric]
    if sweep.sampler == "cmaes" and len(numbers) < 2:
        return [
            Problem(
                "sweep.sampler",
                "cmaes",
                f"needs two numbers between bounds or more, there is {len(numbers) or 'none'}",
                "write interval(...) or range(...), or take sweep.sampler=tpe",
            )
        ]
    if sweep.layouts:
        return [
            Problem(
                "sweep.layouts",
                True,
                "tries every layout, which a search does not",
                "search hardware.layout=a,b,c, or leave sweep.sampler=none",
            )
        ]
    return []


def measuring_problems(configs: Sequence[LearnConfig]) -> list[Problem]:
    """Return why trials would have nothing to be compared, or pruned, by."""
    problems: dict[str, Problem] = {}
    for config in configs:
        sweep = config.sweep
        if not sweep.metric.startswith(EVALUATED):
            continue
        if config.dataset.eval_split is None:
            problems["metric"] = Problem(
                "sweep.metric",
                sweep.metric,
                "is not measured, since dataset.eval_split is null",
                "set dataset.eval_split, or another sweep.metric such as rollout/reward/mean",
            )
        elif sweep.pruner != "none" and not config.algorithm.eval_interval:
            problems["pruner"] = Problem(
                "sweep.pruner",
                sweep.pruner,
                "has nothing to prune by: held-out success is measured before and after only",
                "set algorithm.eval_interval, or sweep.pruner=none",
            )
    return list(problems.values())


def _placed(problem: Problem, where: list[str], total: int) -> Problem:
    """Return a mistake with the corners that make it, unless all do."""
    if len(where) == total:
        return problem
    more = f" and {len(where) - 1} more" if len(where) > 1 else ""
    name = f" (corner {where[0]}{more})"
    if problem.remedy:
        return dataclasses.replace(problem, remedy=problem.remedy + name)
    return dataclasses.replace(problem, message=problem.message + name)
