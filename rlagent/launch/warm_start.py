"""`model.warm_start=EXPERIMENT`: a run of its own that is trained first where it is not there yet.

What it learns from is written by `rlagent data` (`model.warm_start_data`); the run that asked for
it then starts from its last checkpoint, as by model.path=RUN@STEP. Each part is a command that can
be typed, so that the same command again goes on wherever it was cut off.
"""

import dataclasses
import hashlib
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rlagent.base.child import end_child, start_child
from rlagent.base.endings import EXIT_INTERRUPTED
from rlagent.base.errors import ConfigError, Problem
from rlagent.base.origins import AUTO, put
from rlagent.base.paths import import_root, local_path
from rlagent.base.words import python_command, short_path
from rlagent.config.check import LAYOUT_PARTS
from rlagent.config.command import Command
from rlagent.config.compose import Draft
from rlagent.config.overrides import key_of, parse
from rlagent.config.prepare import prepare
from rlagent.config.resolve import Resolved
from rlagent.config.row_folders import files_of
from rlagent.config.schema import LearnConfig
from rlagent.config.task_files import split_file
from rlagent.machine.resources import Machine
from rlagent.records.checkpoints import kept_checkpoints
from rlagent.records.folder import RunFolder
from rlagent.records.parents import STAMP, export_folder

KEY = "model.warm_start"

SHARED = ("model", "hardware", "monitor", "seed", "run.dir", "run.display", "run.stall_timeout")
"""Groups and keys that a warm start takes over where they were typed: the model that it begins
from, the machine, and where everything goes."""

OWN = tuple(f"hardware.{name}" for name in ("layout", "logical_gpus", *LAYOUT_PARTS))
"""Keys of these that each run has for itself: one on conversations has no engines."""

STOP_WITHIN = 120.0
"""Seconds that a warm start may take to save when it is asked to end."""


@dataclasses.dataclass(frozen=True)
class WarmStart:
    """What is done before a run: conversations are written, and learnt from.

    Args:
        experiment: Of the warm start.
        overrides: Of its command.
        conversations: The file that `rlagent data` writes; None: the experiment has its own.
        data: Arguments of that command.
    """

    experiment: str
    overrides: list[str]
    conversations: Path | None
    data: list[str]

    @property
    def words(self) -> list[list[str]]:
        """The commands, as Python modules with their arguments."""
        train = ["rlagent.train", f"+experiment={self.experiment}", *self.overrides]
        return [*([["rlagent.data", *self.data]] if self.data else []), train]

    def lines(self) -> list[str]:
        """The commands as they are typed."""
        return [f"{python_command()} -m {shlex.join(words)}" for words in self.words]


def warm_start_of(config: LearnConfig, typed: Sequence[str]) -> WarmStart:
    """The warm start that a configuration asks for.

    Args:
        config: As composed, with model.warm_start.
        typed: The overrides of its command.
    """
    model = config.model
    passed = [text for text in typed if _is_shared(text)]
    file, data = None, []
    if kind := model.warm_start_data:
        source = config.dataset.path
        file = Path(config.run.dir) / "conversations" / f"{kind}-{_digest(source)}.jsonl"
        data = [kind, "--source", source, "--to", str(file)]
        passed.append(f"dataset.path={file}")
    assert model.warm_start is not None
    return WarmStart(model.warm_start, [*passed, *model.warm_start_overrides], file, data)


def from_warm_start(
    command: Command, draft: Draft, machine: Machine, say: Callable[[str], None] | None = None
) -> tuple[Draft, int]:
    """The run that a command asks for, from its warm start's checkpoint.

    Args:
        command: As typed.
        draft: Of it.
        machine: What there is.
        say: Told what is done first; None: nothing is, and where the warm start is not there the
            draft stays as it is.

    Returns:
        The draft, and the exit status of what came first: 0 where the run can go on.

    Raises:
        ConfigError: The warm start's own configuration is wrong, or it was trained for longer than
            is asked and has not kept the checkpoint of that step.
    """
    if not draft.config.model.warm_start or draft.problems:
        return draft, 0
    first = warm_start_of(draft.config, command.overrides)
    *writing, training = first.words
    if first.conversations is not None and not first.conversations.is_file():
        if say is None:
            return draft, 0
        first.conversations.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for words in writing:
            if code := _run(words, say):
                return draft, code
    found = _resolved(command, first, machine, plan_only=say is None)
    run = RunFolder(Path(found.config.run.dir) / f"{found.config.run.name}-{found.trial_id}")
    if not _is_trained(run, found):
        if say is None:
            return draft, 0
        if code := _run([*training, *_flags(command)], say):
            return draft, code
    step = int(found.config.algorithm.total_steps)
    _require_kept(run, step, first.experiment)
    return _begun(draft, run, step), 0


def _require_kept(run: RunFolder, step: int, experiment: str) -> None:
    kept = [each.step for each in kept_checkpoints(run) if each.step]
    if step in kept or (export_folder(run, step) / STAMP).is_file():
        return
    what = f"its run {run.name} was trained beyond step {step}, and has not kept that checkpoint"
    last = f"{kept[-1]}" if kept else "STEP"
    remedy = (
        f"start from one that it has: {KEY}=null model.path={run.name}@{last}, or ask for as many "
        f"steps: model.warm_start_overrides=[algorithm.total_steps={last}]"
    )
    raise ConfigError([Problem(KEY, experiment, what, remedy)])


def _begun(draft: Draft, run: RunFolder, step: int) -> Draft:
    """The draft, as if the warm start's checkpoint had been named."""
    config = draft.config
    put(config, "model.path", f"{run.path}@{step}", f"{KEY}={config.model.warm_start}")
    for name in ("warm_start", "warm_start_data"):
        put(config, f"model.{name}", None, None)
    put(config, "model.warm_start_overrides", [], None)
    return draft


def _resolved(command: Command, first: WarmStart, machine: Machine, plan_only: bool) -> Resolved:
    made = command.draft([f"+experiment={first.experiment}", *first.overrides])
    if made.config.model.warm_start:
        what = "has a warm start itself"
        made.problems.append(Problem(KEY, first.experiment, what, "name that one's own"))
    return prepare(made, machine, command.config_dirs, plan_only=plan_only)


def _is_trained(run: RunFolder, resolved: Resolved) -> bool:
    status = run.read_status()
    trained = int(status.get("steps_trained") or 0)
    asked = int(resolved.config.algorithm.total_steps)
    return status.get("state") == "finished" and trained >= asked


def _is_shared(text: str) -> bool:
    override = parse(text)
    if override is None or override.is_hydra_override():
        return False
    key = key_of(text)
    return any(key == name or key.startswith(f"{name}.") for name in SHARED) and not (
        key.startswith((KEY, *OWN)) or override.is_sweep_override()
    )


def _flags(command: Command) -> list[str]:
    return ["--config-dir", command.flags.config_dir] if command.flags.config_dir else []


def _digest(source: str) -> str:
    """A digest of a source of conversations: of its training file's content, or of its id."""
    file = None if source == AUTO or local_path(source) is None else split_file(source, "train")
    files = [] if file is None else files_of(file)
    content = b"".join(each.read_bytes() for each in files) or source.encode()
    return hashlib.sha256(content).hexdigest()[:8]


def _run(words: Sequence[str], say: Callable[[str], None]) -> int:
    """Run one of the commands, shown as it is; returns its exit status."""
    say(f"first: {python_command()} -m {shlex.join(map(short_path_of, words))}")
    path = os.pathsep.join(filter(None, [str(import_root()), os.environ.get("PYTHONPATH", "")]))
    # No pipes: it draws on this terminal.
    child = start_child(
        [sys.executable, "-m", *words], {**os.environ, "PYTHONPATH": path}, None, None
    )
    try:
        return child.wait()
    except KeyboardInterrupt:
        end_child(child, STOP_WITHIN)
        return EXIT_INTERRUPTED


def short_path_of(word: str) -> str:
    """A word of a command with its path as one would type it."""
    key, equals, value = word.rpartition("=")
    return f"{key}{equals}{short_path(value)}" if os.path.isabs(value) else word
