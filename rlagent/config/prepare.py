"""From a draft to something that can run: check and resolve, with the mistakes of both at once."""

import copy
from collections.abc import Sequence
from typing import Any

from rlagent.base.errors import ConfigError, Problem, raise_if_any
from rlagent.base.origins import get, put
from rlagent.base.secrets import missing_references
from rlagent.config.check import check
from rlagent.config.compose import Draft
from rlagent.config.overrides import as_typed
from rlagent.config.resolve import Resolved, resolve
from rlagent.config.schema import LearnConfig
from rlagent.machine.resources import Machine


def prepare(
    draft: Draft,
    machine: Machine,
    config_dirs: Sequence[str] = (),
    plan_only: bool = False,
    workflow_given: bool = False,
    judge_given: bool = False,
    measures: bool = False,
) -> Resolved:
    """Check and resolve a composed configuration.

    Args:
        draft: What was composed, with what was refused while composing.
        machine: What there is.
        config_dirs: Folders of further presets.
        plan_only: Do not ask whether this machine has the GPUs.
        workflow_given: Whether the workflow is passed as a function.
        judge_given: Likewise the judge.
        measures: Whether nothing is trained: engines alone, and what says what is measured counts.

    Raises:
        ConfigError: With every mistake of composing, checking and resolving.
    """
    found = check(draft.config, workflow_given, judge_given, measures)
    if not measures:
        found += measuring_keys(draft.config)
    problems = [*draft.problems, *_new(found, draft.problems)]
    if not plan_only:
        problems += missing_references(draft.config.workflow.args, "workflow.args")
        # Other references of a native YAML were replaced when it was read.
        problems += missing_references(getattr(draft.config, "native", None) or {})
    if draft.incomplete:
        # A refused preset would have set it; that one line says what to do.
        problems = [item for item in problems if item.message != "no workflow is chosen"]
    try:
        resolved = resolve(
            _repaired(draft.config, problems), machine, config_dirs, plan_only, measures
        )
    except ConfigError as error:
        problems += _new(error.problems, problems)
        raise ConfigError(as_typed(problems, draft.overrides)) from error
    raise_if_any(as_typed(problems, draft.overrides))
    return resolved


_MEASURING = ("checkpoint", "evaluate.tasks", "evaluate.name", "evaluate.fresh")
"""Keys that only `rlagent evaluate` reads."""


def measuring_keys(config: LearnConfig) -> list[Problem]:
    """Return which keys were written that say what is measured, where something is trained."""
    what, remedy = "is for rlagent evaluate", "leave it out; training has dataset.eval_tasks"
    # A resolved file holds what `auto` came to.
    came_to = {"evaluate.tasks": config.dataset.eval_tasks}
    return [
        Problem(key, get(config, key), what, remedy)
        for key in _MEASURING
        if get(config, key) not in (get(LearnConfig(), key), came_to.get(key))
    ]


def _new(found: list[Problem], reported: list[Problem]) -> list[Problem]:
    keys = {problem.key for problem in reported}
    return [problem for problem in found if problem.key not in keys]


def _repaired(config: LearnConfig, problems: list[Problem]) -> LearnConfig:
    """Return a copy with defaults in place of what is wrong, so that more can be found."""
    if not problems:
        return config
    repaired, default = copy.deepcopy(config), LearnConfig()
    for problem in problems:
        *path, name = problem.key.split(".")
        section: Any = repaired
        sound: Any = default
        for part in path:
            section, sound = getattr(section, part, None), getattr(sound, part, None)
        if section is not None and hasattr(sound, name) and hasattr(section, name):
            put(repaired, problem.key, copy.deepcopy(getattr(sound, name)), None)
    return repaired
