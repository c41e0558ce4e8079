"""Presets and command line become a LearnConfig, through Hydra, strictly.

Every mistake is found at once and raised as one ConfigError. Ranges, contradictions and user
functions are check.py's; `auto` stays `auto`.
"""

import dataclasses
from collections.abc import Iterator, Sequence
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

from rlagent.config import overrides as command_line
from rlagent.config.errors import ConfigError, Problem
from rlagent.config.overlay import Shared, overlaid
from rlagent.config.paths import conf_dir
from rlagent.config.schema import ADDED, LearnConfig
from rlagent.config.secrets import keeping_references
from rlagent.config.spec import build, spec_of, validate
from rlagent.config.trinity_schema import check_trinity

OPEN_NODES = (
    "trinity",
    "workflow.args",
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
        config_dirs: Folders of further presets; the shipped ones win over equal names.
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
    with _hydra(config_path):
        search = _search_path(config_dirs)
        groups = shared.groups if shared and shared.groups else find_groups(search)
        good, problems = command_line.lint(overrides, groups, SPEC, multirun)
        good = [item for item in good if not command_line.is_sweep(item)]
        incomplete = any(problem.key.lstrip("+~") in groups.names for problem in problems)
        node, error = None, None
        if shared is not None:
            shared.groups = groups
            node = overlaid(
                shared, good, groups, lambda some: _hydra_compose(config_name, [*search, *some])[0]
            )
        if node is None:
            node, error = _hydra_compose(config_name, [*search, *good])
        if error is not None:
            # The untyped schema lets a composition go on past the first mistake.
            node, second = _hydra_compose(config_name, [*search, *good], typed=False)
            if node is None:
                problems.append(_from_hydra(second or error))
                return Draft(LearnConfig(), problems, None, True)
        assert node is not None
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
        except OmegaConfBaseException as broken:
            return Draft(LearnConfig(), [*problems, _from_hydra(broken)], None, True)
        assert isinstance(plain, dict)
        config, found = from_mapping({str(key): value for key, value in plain.items()})
        settings = {str(key): value for key, value in sweeper.items()}
        problems += command_line.as_typed(found, overrides)
        return Draft(config, problems, node, incomplete, settings, tuple(overrides))


def from_mapping(data: dict[str, Any]) -> tuple[LearnConfig, list[Problem]]:
    """Turn plain data into a LearnConfig, with what is wrong with it.

    Unknown keys and wrong types, also inside `trinity`, are left out and reported.
    """
    cleaned, problems = validate(data, SPEC)
    problems += check_trinity(cleaned.get("trinity") or {})
    return build(LearnConfig, cleaned), problems


def to_mapping(config: LearnConfig) -> dict[str, Any]:
    """Return a configuration as plain data, keys in the order of the schema."""
    # Only what LearnConfig itself has: subclasses carry more beside it.
    return {key: value for key, value in dataclasses.asdict(config).items() if key in SPEC.fields}


def to_yaml(config: LearnConfig) -> str:
    """Return a configuration as YAML that LearnConfig.load_config reads back."""
    return OmegaConf.to_yaml(OmegaConf.create(to_mapping(config)))


def find_groups(search: Sequence[str] = ()) -> command_line.Groups:
    """Return the groups of presets; Hydra must be initialised."""
    loader = GlobalHydra.instance().config_loader()

    # Each answer reads the search path anew, which takes longer than all else about an override.
    @cache
    def options(group: str) -> list[str]:
        return loader.get_group_options(
            group, results_filter=ObjectType.CONFIG, config_name=None, overrides=list(search)
        )

    names = loader.get_group_options(
        "", results_filter=ObjectType.GROUP, config_name=None, overrides=list(search)
    )
    names = [name for name in names if name != "hydra"]
    given = [name for name in names if name in SPEC.fields and name not in ADDED]
    return command_line.Groups(names, options, given)


@contextmanager
def _hydra(config_path: str | None) -> Iterator[None]:
    folder = Path(config_path).absolute() if config_path else conf_dir()
    with initialize_config_dir(config_dir=str(folder), version_base="1.3", job_name="rlagent"):
        yield


def _search_path(config_dirs: Sequence[str]) -> list[str]:
    if not config_dirs:
        return []
    missing = [name for name in config_dirs if not Path(name).is_dir()]
    if missing:
        raise ConfigError(
            Problem("--config-dir", name, "there is no such folder") for name in missing
        )
    listed = ",".join(f"'file://{Path(name).absolute()}'" for name in config_dirs)
    return [f"hydra.searchpath=[{listed}]"]


def _hydra_compose(
    config_name: str, arguments: list[str], typed: bool = True
) -> tuple[DictConfig | None, Exception | None]:
    """Return what Hydra composes, or why it does not."""
    register_schema(typed)
    try:
        return hydra_compose(config_name, overrides=arguments, return_hydra_config=True), None
    except (HydraException, OmegaConfBaseException, YAMLError, UnicodeDecodeError) as error:
        # The last two are a preset that is no YAML.
        return None, error


def _from_hydra(error: Exception) -> Problem:
    """Return one line of what Hydra or OmegaConf said, cause included."""
    parts = [str(error).strip()]
    if isinstance(error, UnicodeDecodeError):
        parts = [f"a preset is no UTF-8 text: {error}"]
    if error.__cause__ is not None:
        parts.append(str(error.__cause__).strip().splitlines()[0])
    lines = [
        line.strip().rstrip(".:") for part in parts for line in part.splitlines() if line.strip()
    ]
    return Problem("", None, "; ".join(dict.fromkeys(lines)))
