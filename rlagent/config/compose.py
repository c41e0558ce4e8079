"""Presets and command line become a LearnConfig, through Hydra, strictly.

Every mistake is found at once and raised as one ConfigError. Ranges, contradictions and user
functions are check.py's; `auto` stays `auto`.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from rlagent.base.errors import ConfigError, Problem
from rlagent.base.origins import AUTO, COMMAND_LINE, PYTHON, leaves, record
from rlagent.base.paths import conf_dir, expand_user, path_fault, shown
from rlagent.base.secrets import as_written, keeping_references
from rlagent.config import overrides as command_line
from rlagent.config.fillable import left_open, left_to_auto, without
from rlagent.config.overlay import Composed, Shared, overlaid
from rlagent.config.presets import unreadable_presets
from rlagent.config.refusals import from_hydra, key_and_text
from rlagent.config.schema import ADDED, LearnConfig
from rlagent.config.spec import build, find, spec_of, validate
from rlagent.config.trinity_schema import check_trinity
from rlagent.upstream import hydra as hydra_patches

OPEN_NODES = (
    "trinity",
    "workflow.args",
    "dataset.args",
    "dataset.map",
    "algorithm.advantage_args",
    "algorithm.policy_loss_args",
)
"""Nodes whose keys are not ours to name: settable without `+`."""

SPEC = spec_of(LearnConfig)


@dataclass(frozen=True)
class Draft:
    """A configuration as far as it could be read, with what is wrong with it.

    Args:
        config: The configuration; wrong values are left at their defaults.
        problems: Everything that was refused while composing.
        node: The composed configuration as OmegaConf has it; None when Hydra gave up.
        incomplete: Whether a preset was refused, so that what it would have set is missing.
        sweeper: Hydra's node `hydra.sweeper`, with the `params` that presets of a sweep set.
        overrides: The overrides as typed.
    """

    config: LearnConfig
    problems: list[Problem]
    node: DictConfig | None = None
    incomplete: bool = False
    sweeper: dict[str, Any] = field(default_factory=dict)
    overrides: Sequence[str] = ()


def register_schema(typed: bool = True) -> None:
    """Store LearnConfig where the defaults list of conf/config.yaml finds it.

    Args:
        typed: False stores the bare values, which accept every key and type: with them a
            composition goes on past the first mistake, so that all can be named.
    """
    node = OmegaConf.structured(LearnConfig)
    if not typed:
        node = OmegaConf.create(OmegaConf.to_container(node))
    for key in OPEN_NODES:
        OmegaConf.set_struct(OmegaConf.select(node, key), False)
    ConfigStore.instance().store(name="learn_config", node=node, provider="rlagent")


def compose(
    overrides: Sequence[str] = (),
    config_dirs: Sequence[str] = (),
    config_name: str = "config",
    config_path: str | None = None,
) -> LearnConfig:
    """Compose a LearnConfig.

    Args:
        overrides: As on the command line, such as `+experiment=gsm8k_react`.
        config_dirs: Folders of further presets, which win over shipped ones of the same name.
        config_name: The primary configuration.
        config_path: Its folder; None: the shipped one.

    Raises:
        ConfigError: With everything that is wrong.
    """
    result = draft(overrides, config_dirs, config_name, config_path)
    if result.problems:
        raise ConfigError(result.problems)
    return result.config


def draft(
    overrides: Sequence[str] = (),
    config_dirs: Sequence[str] = (),
    config_name: str = "config",
    config_path: str | None = None,
    multirun: bool = False,
    shared: Shared | None = None,
) -> Draft:
    """Compose as far as possible; arguments as for `compose`.

    Args:
        multirun: Accept several values for a key; the draft then holds none of those keys.
        shared: What earlier drafts found that differ in nothing but their overrides.
    """
    with _hydra(config_path, config_dirs) as noted:
        groups = shared.groups if shared and shared.groups else find_groups()
        good, problems = command_line.lint(overrides, groups, SPEC, multirun)
        good = [item for item in good if not command_line.is_sweep(item)]
        incomplete = any(problem.key.lstrip("+~") in groups.names for problem in problems)
        if shared is not None:
            shared.groups = groups
        # The untyped schema lets a composition go on past the first mistake.
        for typed in (True, False):
            made = _composed(noted, config_name, good, groups, shared, typed)
            if isinstance(made, Composed):
                break
        if isinstance(made, Exception):
            found = unreadable_presets(config_dirs) or _refusals(noted, config_name, good, made)
            return Draft(LearnConfig(), [*problems, *found], None, True)
        node = made.node
        with open_dict(node):
            hydra = node.pop("hydra")
        sweeper = OmegaConf.to_container(hydra.sweeper)
        assert isinstance(sweeper, dict)
        # Our own check decides; OmegaConf also refuses what is right, such as 1 for a
        # Union of float and str.
        try:
            plain = OmegaConf.to_container(
                keeping_references(node), resolve=True, throw_on_missing=True
            )
        except (OmegaConfBaseException, RecursionError, ValueError, TypeError) as broken:
            return Draft(LearnConfig(), [*problems, from_hydra(broken, good)], None, True)
        assert isinstance(plain, dict)
        written = made.written | dict.fromkeys(command_line.keys(good, groups), COMMAND_LINE)
        config, found = from_mapping({str(key): value for key, value in plain.items()}, written)
        settings = {str(key): value for key, value in sweeper.items()}
        problems += command_line.as_typed(found, overrides)
        return Draft(config, problems, node, incomplete, settings, tuple(overrides))


def from_mapping(
    data: dict[str, Any], written: Mapping[str, str] | str = PYTHON
) -> tuple[LearnConfig, list[Problem]]:
    """Turn plain data into a LearnConfig, with what is wrong with it.

    Unknown keys and wrong types, also inside `trinity`, are left out and reported.

    Args:
        data: Nested mappings.
        written: Where each value was set, by dotted key; a text: all that is there, in one place.
    """
    open_keys = left_to_auto(data)
    cleaned, problems = validate(without(data, open_keys), SPEC)
    problems += check_trinity(cleaned.get("trinity") or {})
    config = build(LearnConfig, cleaned)
    if isinstance(written, str):
        written = {key: written for key, _ in leaves(cleaned)}
    specs = {key: find(SPEC, key) for key in written if key not in open_keys}
    known = [key for key, spec in specs.items() if spec is not None and spec.kind != "struct"]
    record(config, {key: written[key] for key in known})
    return config, problems


def to_mapping(config: LearnConfig) -> dict[str, Any]:
    """Return a configuration as plain data, keys in the order of the schema."""
    # Only what LearnConfig itself has: subclasses carry more beside it.
    return {key: value for key, value in dataclasses.asdict(config).items() if key in SPEC.fields}


def to_yaml(config: LearnConfig) -> str:
    """Return a configuration as YAML that LearnConfig.load_config reads back."""
    data = OmegaConf.create(as_written(to_mapping(config)))
    for key in left_open(config):
        OmegaConf.update(data, key, AUTO)
    return OmegaConf.to_yaml(data)


def find_groups() -> command_line.Groups:
    """Return the groups of presets; Hydra must be initialised."""
    loader = GlobalHydra.instance().config_loader()

    # Each answer reads the search path again, which takes longer than all else about an override.
    @cache
    def options(group: str) -> list[str]:
        return loader.get_group_options(
            group, results_filter=ObjectType.CONFIG, config_name=None, overrides=[]
        )

    names = loader.get_group_options(
        "", results_filter=ObjectType.GROUP, config_name=None, overrides=[]
    )
    names = [name for name in names if name != "hydra"]
    given = [name for name in names if name in SPEC.fields and name not in ADDED]
    return command_line.Groups(names, options, given)


@contextmanager
def _hydra(config_path: str | None, config_dirs: Sequence[str]) -> Iterator[dict[str, str]]:
    """Start Hydra; what is yielded takes the file that set each key, of all presets it loads."""
    written: dict[str, str] = {}

    def note(preset: Any, file: Path) -> None:
        plain = OmegaConf.to_container(preset)
        assert isinstance(plain, dict)
        written.update(dict.fromkeys([key for key, _ in leaves(plain)], shown(file)))

    own = [folder_of("--config-dir", name).absolute() for name in config_dirs]
    folder = folder_of("--config-path", config_path).absolute() if config_path else conf_dir()
    with initialize_config_dir(config_dir=str(folder), version_base="1.3", job_name="rlagent"):
        if own:
            hydra_patches.presets_first.apply(own)
        hydra_patches.note_presets.apply(note)
        yield written


def folder_of(flag: str, name: str) -> Path:
    """Return the folder that a flag names.

    Raises:
        ConfigError: There is none, or a preset in it cannot be read.
    """
    fault, folder = path_fault(name), expand_user(name)
    if not fault and not folder.is_dir():
        fault = "there is no such folder"
    if fault:
        raise ConfigError([Problem(flag, name, fault)])
    return folder


def _composed(
    noted: dict[str, str],
    config_name: str,
    arguments: list[str],
    groups: command_line.Groups,
    shared: Shared | None,
    typed: bool,
) -> Composed | Exception:
    """Return what Hydra composes, or why it does not; arguments as for `_hydra_compose`."""
    if shared is not None:

        def presets(some: list[str]) -> Composed | None:
            made = _hydra_compose(noted, config_name, some, typed)
            return made if isinstance(made, Composed) else None

        made = overlaid(shared, arguments, groups, presets, typed)
        if made is not None:
            return made
    return _hydra_compose(noted, config_name, arguments, typed)


def _hydra_compose(
    noted: dict[str, str], config_name: str, arguments: list[str], typed: bool = True
) -> Composed | Exception:
    """Return what Hydra composes with what its presets set, or why it does not."""
    register_schema(typed)
    noted.clear()
    try:
        node = hydra_compose(config_name, overrides=arguments, return_hydra_config=True)
    except (
        *(HydraException, OmegaConfBaseException),
        # What else a preset that is no YAML makes: a wrong date is a ValueError.
        *(YAMLError, ValueError, TypeError, RecursionError, OSError),
    ) as error:
        return error
    return Composed(node, dict(noted))


def _refusals(
    noted: dict[str, str], config_name: str, arguments: list[str], error: Exception
) -> list[Problem]:
    """Return what is wrong where Hydra composes nothing: of the presets alone, or per override."""
    of_presets = None if config_name == "config" else _hydra_compose(noted, config_name, [], False)
    if isinstance(of_presets, Exception):
        return [from_hydra(error, arguments, "--config-name", config_name)]
    found = []
    for argument in arguments:
        alone = _hydra_compose(noted, "config", [argument], typed=False)
        if isinstance(alone, Exception):
            found.append(from_hydra(alone, [argument], *key_and_text(argument)))
    return found or [from_hydra(error, arguments, " ".join(arguments))]
