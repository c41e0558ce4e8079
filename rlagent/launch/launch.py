"""Runs a training run from a resolved configuration to its report.

Here is what happens before and after the attempt: locking its folder, and whether it is a new run,
a resume or done; the attempt itself is in driver.py.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlagent.base.cause import cause_of
from rlagent.base.endings import EXIT_FAILED
from rlagent.base.errors import Problem, raise_if_any
from rlagent.base.lock import IN_USE, locked
from rlagent.base.screen import lasting_streams
from rlagent.config.fingerprint import function_name
from rlagent.config.resolve import Resolved
from rlagent.config.schedule import what_changes
from rlagent.launch import decide
from rlagent.launch.driver import Driver
from rlagent.launch.epochs import with_steps
from rlagent.launch.record import WRITTEN, make_record, read_record, write_record
from rlagent.records.configuration import RECORD
from rlagent.records.display import Display, make_display
from rlagent.records.files import DamagedError, move_contents_aside, set_aside
from rlagent.records.folder import RunFolder
from rlagent.trinity.translate import to_trinity


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    # finished, failed, stopped or interrupted.
    state: str
    # 0 the asked steps were trained and saved; 1 failed or stopped; 2 wrong configuration;
    # 130 interrupted.
    exit_code: int
    # Why, in one line; empty when it finished.
    cause: str
    # Where everything is.
    folder: Path
    steps_trained: int = 0
    # Held-out success in [0, 1]; None when it was not measured.
    success_before: float | None = None
    success_after: float | None = None


@lasting_streams()
def launch(
    resolved: Resolved,
    workflow_func: Callable[..., Any] | None = None,
    judge_func: Callable[..., Any] | None = None,
    command: Callable[[dict[str, object]], str] | None = None,
) -> Outcome:
    """Train, or resume, or say that there is nothing to do.

    Args:
        resolved: From `rlagent.config.resolve.resolve`.
        workflow_func: The workflow as an object; None: `workflow.function` names it.
        judge_func: Likewise.
        command: Makes the command that runs this again with further overrides, for the closing
            words; None: it takes none.

    Returns:
        How it ended; never raises for a failed run.

    Raises:
        ConfigError: A function cannot be passed to rollouts; the data of a native YAML cannot be
            read, or makes no step.
    """
    resolved = with_steps(resolved)
    config = resolved.config
    display = make_display(config.run.display)
    folder = RunFolder(Path(config.run.dir) / f"{config.run.name}-{resolved.trial_id}")
    try:
        return _launch_in(folder, resolved, display, workflow_func, judge_func, command)
    except OSError as error:
        # Inside a run every error ends in status.json; here not even that can be written.
        cause = f"the run folder {folder.path} cannot be used: {error}"
        print(cause, file=sys.stderr)
        return Outcome("failed", EXIT_FAILED, cause, folder.path)


def _launch_in(
    folder: RunFolder,
    resolved: Resolved,
    display: Display,
    workflow_func: Callable[..., Any] | None,
    judge_func: Callable[..., Any] | None,
    command: Callable[[dict[str, object]], str] | None,
) -> Outcome:
    config = resolved.config
    folder.make()
    with locked(folder.path) as lock:
        if lock is None:
            cause = f"{folder.path} {IN_USE}; `rlagent stop {folder.name}` ends it"
            print(cause, file=sys.stderr)
            return Outcome("failed", EXIT_FAILED, cause, folder.path)
        _keep_what_is_whole(folder, display)
        record = make_record(resolved, workflow_func, judge_func)
        decision = decide.decide(
            status=folder.read_status(),
            old=read_record(folder),
            new=record,
            total_steps=int(config.algorithm.total_steps),
            fresh=config.run.fresh,
            resume_changed=config.run.resume_changed,
        )
        if decision.action is decide.Action.REFUSE:
            print(decision.words, file=sys.stderr)
            return Outcome("failed", EXIT_FAILED, decision.words, folder.path)
        if decision.words:
            display.message(decision.words)
        if decision.action is decide.Action.NOTHING:
            return _outcome_of(folder)
        require_passable(workflow_func=workflow_func, judge_func=judge_func)
        if decision.action is decide.Action.FROM_SCRATCH:
            move_contents_aside(folder.path)
        if decision.action is decide.Action.RESUME and (words := _rate_changes(resolved, folder)):
            display.message(f"note: {words}")
        begun = read_record(folder)
        # What is edited beside the configuration may change on request; the rest stays.
        now = record if begun is None else {**begun, **{key: record[key] for key in WRITTEN}}
        if now != begun:
            write_record(folder, now)
        Driver(resolved, folder, display, workflow_func, judge_func, command).run()
        return _outcome_of(folder)


def _keep_what_is_whole(folder: RunFolder, display: Display) -> None:
    """Set damaged files aside, so that the run goes on from its checkpoints without them."""
    for path, read in (
        (folder.status_json, folder.read_status),
        (folder.path / RECORD, lambda: read_record(folder)),
    ):
        try:
            read()
        except DamagedError as error:
            display.message(f"{error}; it is kept as {set_aside(path).name}")


def _rate_changes(resolved: Resolved, folder: RunFolder) -> str:
    """What another number of steps than before changes about the learning rate; '' if nothing."""
    status = folder.read_status()
    now = int(resolved.config.algorithm.total_steps)
    optimizer = to_trinity(resolved, folder.path)["algorithm"].get("optimizer") or {}
    trained = status.get("steps_trained") or 0
    return what_changes(optimizer, trained, status.get("steps_asked") or now, now)


def require_passable(**functions: Callable[..., Any] | None) -> None:
    """Make sure that functions can be pickled as Ray does it, before anything starts.

    Args:
        functions: By the argument's name; None is none.

    Raises:
        ConfigError: With what the pickler says. What fingerprint.py finds is named there.
    """
    given = {key: function for key, function in functions.items() if function is not None}
    if not given:
        return
    from ray import cloudpickle

    problems = []
    for key, function in given.items():
        try:
            cloudpickle.dumps(function)
        # A class of the user's may raise anything when it is pickled.
        except Exception as error:
            message = f"cannot be passed to the processes of rollouts: {cause_of(error)}"
            remedy = "make inside the function what cannot be pickled"
            problems.append(Problem(key, function_name(function), message, remedy))
    raise_if_any(problems)


def _outcome_of(folder: RunFolder) -> Outcome:
    status = folder.read_status()
    return Outcome(
        state=status["state"],
        exit_code=status["exit_code"],
        cause=status.get("cause") or "",
        folder=folder.path,
        steps_trained=status.get("steps_trained") or 0,
        success_before=status.get("success_before"),
        success_after=status.get("success_after"),
    )
