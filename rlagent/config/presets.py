"""Reads presets of a group outside of Hydra, for what `auto` may become."""

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from rlagent.base.errors import ConfigError, Problem
from rlagent.base.names import did_you_mean
from rlagent.base.origins import (
    FILLED,
    Recorded,
    fields,
    get,
    is_written,
    leaves,
    origin_of,
    origins,
    put,
    record,
)
from rlagent.base.paths import conf_dir, expand_user, shown, whole_path
from rlagent.base.yaml_file import read_settings
from rlagent.config.fillable import left_to_auto, without
from rlagent.config.schema import ADDED, DatasetConfig, LearnConfig, ModelConfig
from rlagent.config.spec import build, spec_of, validate

T = TypeVar("T", bound=Recorded)


def model_preset(name: str, config_dirs: Sequence[str] = ()) -> ModelConfig:
    """Return a preset of the group model; raises ConfigError when there is none."""
    return _preset("model", name, ModelConfig, config_dirs)


def dataset_preset(name: str, config_dirs: Sequence[str] = ()) -> DatasetConfig:
    """Return a preset of the group dataset; raises ConfigError when there is none."""
    return _preset("dataset", name, DatasetConfig, config_dirs)


def model_preset_of_path(path: str, config_dirs: Sequence[str] = ()) -> ModelConfig | None:
    """Return the preset whose path this is, None when no preset has it."""
    for folder in _folders("model", config_dirs):
        for file in sorted(folder.glob("*.yaml")):
            if _read(file).get("path") == path:
                return model_preset(file.stem, config_dirs)
    return None


def overlay(preset: Recorded, given: Recorded, prefix: str) -> dict[str, Any]:
    """Set in a preset, in place, what was written beside it.

    Args:
        preset: A group of the schema, as `auto` takes it.
        given: Another one of the same class.
        prefix: The group's dotted key.

    Returns:
        By dotted key, the written values that only their origin tells from what nobody wrote: the
        schema's defaults where the preset says otherwise.
    """
    default, found = type(given)(), origins(given)
    kept: dict[str, Any] = {}
    for key in fields(given):
        if not is_written(given, key):
            continue
        # Lists and mappings are set as wholes.
        value = copy.deepcopy(get(given, key))
        if value == get(default, key) != get(preset, key):
            kept[f"{prefix}.{key}"] = value
        put(preset, key, value, origin_of(found, key))
    return kept


def preset_names(group: str, config_dirs: Sequence[str] = ()) -> list[str]:
    """Return the presets of a group, sorted."""
    folders = _folders(group, config_dirs)
    return sorted({file.stem for folder in folders for file in folder.glob("*.yaml")})


def whole_dataset(choice: str) -> str:
    """Return a dataset that means the same in every folder: the name of a shipped preset, or a path
    as of `whole_path`."""
    return choice if choice in preset_names("dataset") else whole_path(choice)


def unreadable_presets(config_dirs: Sequence[str]) -> list[Problem]:
    """Return what is wrong with the files of one's own folders that cannot be read."""
    problems = []
    for folder in config_dirs:
        for file in sorted(Path(folder).rglob("*.yaml")):
            try:
                _read(file)
            except ConfigError as error:
                problems += error.problems
    return problems


def preset_table(config_dirs: Sequence[str] = ()) -> list[tuple[str, list[str]]]:
    """Return each group with its presets; `+` stands before groups that are added."""
    given = {item.name for item in dataclasses.fields(LearnConfig)} - set(ADDED)
    folders = [conf_dir(), *(expand_user(folder) for folder in config_dirs)]
    groups = {entry.name for folder in folders for entry in folder.iterdir() if entry.is_dir()}
    return [
        (name if name in given else f"+{name}", preset_names(name, config_dirs))
        for name in sorted(groups)
    ]


def _preset(group: str, name: str, cls: type[T], config_dirs: Sequence[str]) -> T:
    for folder in _folders(group, config_dirs):
        file = folder / f"{name}.yaml"
        if file.is_file():
            data: dict[str, Any] = {group: _read(file)}
            written = without(data, left_to_auto(data))[group]
            cleaned, problems = validate(written, spec_of(cls), f"{group}.")
            if problems:
                raise ConfigError(problems)
            preset = build(cls, cleaned)
            where = f"{FILLED}{shown(file)}"
            record(preset, {key: where for key, _ in leaves(cleaned)})
            return preset
    known = preset_names(group, config_dirs)
    raise ConfigError([Problem(group, name, "there is no such preset", did_you_mean(name, known))])


def _read(file: Path) -> dict[str, Any]:
    return read_settings(file, str(file), may_be_empty=True)


def _folders(group: str, config_dirs: Sequence[str]) -> list[Path]:
    # As Hydra searches: a preset of one's own wins over a shipped one of its name.
    folders = [*(expand_user(folder) / group for folder in config_dirs), conf_dir() / group]
    return [folder for folder in folders if folder.is_dir()]
