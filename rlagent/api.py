"""The Python interface: `learn(workflow_func, config)`. Everything heavy is imported on use."""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rlagent.base.errors import Problem
from rlagent.config import parents, schema
from rlagent.config.fingerprint import (
    NotStableError,
    fingerprint,
    function_name,
    not_stable,
    qualified,
)
from rlagent.config.functions import missing_way
from rlagent.config.schema import LearnConfig

if TYPE_CHECKING:
    from rlagent.config.parents import Parent
    from rlagent.launch.launch import Outcome


def _read_config(path: str) -> LearnConfig:
    from rlagent.config.load import load_config

    return load_config(path)


schema.reader = _read_config


def _find_parent(path: str, root: str) -> "Parent | None":
    from rlagent.records.parents import find_parent

    return find_parent(path, root)


parents.finder = _find_parent


class LearnError(RuntimeError):
    """A run did not do its job; the message is its cause, in one line."""


class LearnStopped(SystemExit):
    """A run was asked to stop, and did: `rlagent stop`, SIGTERM or Ctrl+C.

    Nothing went wrong, but what a script does after `learn` takes a trained model for granted.
    Left uncaught it ends the script as the command would end: without a traceback, with status 1,
    or 130 after Ctrl+C. A script that goes on all the same catches it and reads `outcome`.
    """

    def __init__(self, outcome: "Outcome") -> None:
        super().__init__(outcome.exit_code)
        self.outcome = outcome

    def __str__(self) -> str:
        return self.outcome.cause


def learn(
    workflow_func: Callable[..., Any],
    config: LearnConfig,
    judge_func: Callable[..., Any] | None = None,
) -> "Outcome":
    """Train the model of `config` on what `workflow_func` earns.

    Args:
        workflow_func: `async (task: dict, model) -> float`, the reward of one rollout; or one
            that returns AgentScope's `WorkflowOutput`. In place of `model`, or besides, it may
            name `client`, or `base_url` and `api_key`: an OpenAI-compatible endpoint. It may also
            name `auxiliary_models` (dict of chat models) and `logger`. A plain `def` runs in a
            thread.
        config: From `LearnConfig.load_config(path)`.
        judge_func: `async (task, response) -> JudgeOutput`, for workflows without a reward.

    Returns:
        How the run ended: success before and after, the run folder, the steps trained.

    Raises:
        ConfigError: The configuration is wrong; lists every mistake.
        LearnError: The run failed; nothing is left running.
        LearnStopped: It was asked to stop. The same call again resumes it.
    """
    from rlagent.base.words import script_command
    from rlagent.config.cluster import with_cluster
    from rlagent.config.compose import Draft
    from rlagent.config.prepare import prepare
    from rlagent.config.python_changes import with_python_changes
    from rlagent.launch.launch import launch
    from rlagent.machine.resources import detect

    if not callable(workflow_func):
        raise TypeError(f"workflow_func must be a function, not {type(workflow_func).__name__}")
    if not isinstance(config, LearnConfig):
        kind = type(config).__name__
        raise TypeError(f"config must come from LearnConfig.load_config(path), not be a {kind}")
    parameters = inspect.signature(workflow_func).parameters
    fault = "takes no task" if "task" not in parameters else missing_way(parameters)
    takes_all = any(item.kind is item.VAR_KEYWORD for item in parameters.values())
    if fault and not takes_all:
        raise TypeError(
            f"workflow_func {qualified(workflow_func)!r} {fault}; write it with the arguments "
            "task and model"
        )
    config, problems = with_python_changes(config)
    # What is passed counts, whatever the file names, and is part of the run's identity.
    problems += _name_functions(config, workflow_func, judge_func)
    machine = with_cluster(detect(), config.hardware)
    resolved = prepare(
        Draft(config, problems), machine, workflow_given=True, judge_given=judge_func is not None
    )
    outcome = launch(
        resolved, workflow_func=workflow_func, judge_func=judge_func, command=script_command
    )
    if not outcome.exit_code:
        return outcome
    if outcome.state in ("stopped", "interrupted"):
        raise LearnStopped(outcome)
    raise LearnError(outcome.cause)


def _name_functions(
    config: LearnConfig, workflow: Callable[..., Any], judge: Callable[..., Any] | None
) -> list[Problem]:
    """Name the functions in the configuration, with a fingerprint of what they carry."""
    problems = []
    for key, function in (("function", workflow), ("judge", judge)):
        if function is None:
            continue
        try:
            setattr(config.workflow, key, fingerprint(function).name)
        except NotStableError as error:
            argument = "workflow_func" if key == "function" else "judge_func"
            problems.append(not_stable(argument, function_name(function), error))
    return problems
