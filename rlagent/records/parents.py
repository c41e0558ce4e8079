"""The checkpoint of another run that `model.path` names, and the line of runs that it ends.

Nothing is exported here: where an export goes is known before it is made (serving/export.py).
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlagent.base.errors import ConfigError, Problem
from rlagent.base.paths import BUILTIN, local_path
from rlagent.config.parents import Lineage, Parent
from rlagent.config.schema import LearnConfig
from rlagent.records.checkpoints import (
    BEST,
    LAST,
    CheckpointError,
    best_step,
    find_checkpoint,
    kept_checkpoints,
)
from rlagent.records.configuration import RECORD, base_of, read_config
from rlagent.records.files import DamagedError, read_object
from rlagent.records.find import find_any
from rlagent.records.folder import RunFolder, RunNotFoundError
from rlagent.records.sweep_store import SweepFolder

KEY = "model.path"
STAMP = "rlagent.json"
"""In an exported folder: which checkpoint it was made from, and its line."""

_EXPORT = re.compile(r"step-(\d+)")
_RUN_NAME = re.compile(r".+-[0-9a-f]{8}")
_STEP = re.compile(r"[A-Za-z0-9]+")


def export_folder(run: RunFolder, step: int) -> Path:
    """Where a checkpoint of a run is kept as a Hugging Face folder, once it is asked for."""
    return run.path / "exports" / f"step-{step}"


def run_of_export(path: str) -> tuple[RunFolder, int] | None:
    """The run and step whose export belongs at a path, whether it is there or not."""
    folder = Path(path)
    match = _EXPORT.fullmatch(folder.name)
    run = RunFolder(folder.parent.parent)
    if match is None or folder.parent.name != "exports" or not run.config_yaml.is_file():
        return None
    return run, int(match[1])


def find_parent(path: str, root: str) -> Parent | None:
    """As `config.parents.find_parent`."""
    try:
        return _find(path, root)
    except DamagedError as error:
        raise _refused(path, str(error), "name another run") from None


def _find(path: str, root: str) -> Parent | None:
    if path.startswith(BUILTIN):
        return None
    if exported := run_of_export(path):
        return _parent(path, exported[0], str(exported[1]))
    name, step = _named(path, root)
    if name is None:
        return None
    try:
        found = find_any(name, root)
    except RunNotFoundError as error:
        remedy = "name a run as `rlagent runs` lists it, a hub id or a folder"
        raise _refused(path, str(error), remedy) from None
    if isinstance(found, SweepFolder):
        raise _refused(path, f"{found.name} is a sweep", "name one of its trials, RUN or RUN@STEP")
    if name == "latest":
        what = "is another run as soon as this one has begun"
        raise _refused(path, what, f"name it: {KEY}={found.name}{f'@{step}' if step else ''}")
    return _parent(path, found, step)


def _named(path: str, root: str) -> tuple[str | None, str]:
    """The run and the checkpoint that a text names; no run: it is a folder or a hub id."""
    local = local_path(path)
    if local is not None and local.exists():
        is_run = RunFolder(local).exists() and not (local / "config.json").is_file()
        return (path, "") if is_run else (None, "")
    run, at, step = path.rpartition("@")
    if at and run and _STEP.fullmatch(step):
        return run, step
    is_below = "/" in path and Path(path).parent == Path(root)
    if is_below or path == "latest" or ("/" not in path and _RUN_NAME.fullmatch(path)):
        return path, ""
    if "/" in path or local is not None:
        return None, ""
    try:
        # An id, or a name without one; a hub id may look alike.
        return find_any(path, root).path.name, ""
    except RunNotFoundError:
        return None, ""


def _parent(path: str, run: RunFolder, asked: str) -> Parent:
    if not run.config_yaml.is_file():
        raise _refused(path, f"{run.name} has not begun to train", "name another run")
    try:
        config = read_config(run)
    except ConfigError as error:
        what = f"the configuration of {run.name}: {error.problems[0]}"
        raise _refused(path, what, "name another run") from None
    step = _step(path, run, asked)
    return Parent(
        run=run.name,
        step=step,
        folder=str(export_folder(run, step)) if step else base_of(run, config),
        place=f"run {run.name}{f' at {asked}' if asked else ''}",
        model=config.model,
        lineage=line_of(run, config, step),
    )


def line_of(run: RunFolder, config: LearnConfig, step: int) -> Lineage:
    """The line of a run's checkpoint, itself the first; step 0: of what the run began from."""
    before = lineage(run)
    if not step:
        return before
    base = _public(base_of(run, config))
    return [{"run": run.name, "step": step, "model": config.model.name, "base": base}, *before]


def _step(path: str, run: RunFolder, asked: str) -> int:
    """The step that is meant; without a name the best where that is known, else the last."""
    if not asked:
        steps = [kept.step for kept in kept_checkpoints(run) if kept.step]
        asked = BEST if best_step(run, steps) is not None else LAST
    if asked.isdecimal() and (export_folder(run, int(asked)) / STAMP).is_file():
        # Its checkpoint may be pruned since.
        return int(asked)
    try:
        return find_checkpoint(run, asked).step
    except CheckpointError as error:
        raise _refused(path, str(error), f"write RUN@STEP, RUN@{BEST} or RUN@{LAST}") from None


def lineage(run: RunFolder) -> Lineage:
    """The line of the model that a run began from, as it was recorded; empty without one."""
    return _listed(read_object(run.path / RECORD, "") or {})


def lineage_of_folder(path: str) -> Lineage:
    """The line of a model folder that rlagent exported; empty for other models."""
    local = local_path(path)
    try:
        return _listed(json.loads((local / STAMP).read_text(encoding="utf-8"))) if local else []
    except (OSError, ValueError):
        return []


def _listed(found: Any) -> Lineage:
    line = found.get("lineage") if isinstance(found, Mapping) else None
    return [dict(one) for one in line or () if isinstance(one, Mapping) and "run" in one]


def lineage_words(line: Lineage) -> str:
    """A line in words: what it began from comes last; empty without one.

    >>> lineage_words([{"run": "rl-2", "step": 9}, {"run": "sft-1", "step": 4, "model": "tiny"}])
    'step 9 of rl-2, from step 4 of sft-1 (tiny)'
    """
    if not line:
        return ""
    words = ", from ".join(f"step {one.get('step')} of {one['run']}" for one in line)
    model = line[-1].get("model")
    return f"{words} ({model})" if model else words


def parent_name(line: Any) -> str:
    """The nearest checkpoint of a line, RUN@STEP; empty without one.

    >>> parent_name([{"run": "sft-1", "step": 4}]), parent_name(None)
    ('sft-1@4', '')
    """
    return f"{line[0]['run']}@{line[0]['step']}" if line else ""


def _public(path: str) -> str:
    """A path without what only this machine knows."""
    local = None if path.startswith(BUILTIN) else local_path(path)
    return local.name if local else path


def _refused(path: str, message: str, remedy: str) -> ConfigError:
    return ConfigError([Problem(KEY, path, message, remedy)])
