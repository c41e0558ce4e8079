"""What the trials of a sweep share: presets are composed once, each trial's values laid over them.

Hydra itself does the same two things one after the other, so the result is identical. Reporting
mistakes is left to compose.py, which composes again whatever is refused here.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from rlagent.config.overrides import Groups, chooses_preset, parse
from rlagent.upstream import hydra


@dataclass(frozen=True)
class Composed:
    """What Hydra composed.

    Args:
        node: The configuration.
        written: The file that set each key, of those that presets set, by dotted key.
    """

    node: DictConfig
    written: dict[str, str]


@dataclass
class Shared:
    """What drafts of one command have in common; for as long as its presets do not change.

    Args:
        groups: The groups of presets, once they were looked for.
        bases: What each choice of presets composes to without values, typed or not; None when it
            does not.
    """

    groups: Groups | None = None
    bases: dict[tuple[bool, tuple[str, ...]], Composed | None] = field(default_factory=dict)


def overlaid(
    shared: Shared,
    arguments: Sequence[str],
    groups: Groups,
    compose_presets: Callable[[list[str]], Composed | None],
    typed: bool = True,
) -> Composed | None:
    """Return what Hydra would compose of these overrides, None when it must be asked.

    Args:
        shared: What is known; takes what is composed.
        arguments: Overrides that were found to be good.
        groups: Groups of presets.
        compose_presets: Composes overrides of groups alone.
        typed: Whether it does so with the typed schema.
    """
    parts = _split(arguments, groups)
    if parts is None:
        return None
    presets, values = parts
    key = (typed, tuple(presets))
    if key not in shared.bases:
        shared.bases[key] = compose_presets(presets)
    base = shared.bases[key]
    if base is None:
        return None
    node = copy.deepcopy(base.node)
    try:
        hydra.lay_over.apply(values, node)
    except (HydraException, OmegaConfBaseException):
        return None
    return Composed(node, base.written)


def _split(arguments: Sequence[str], groups: Groups) -> tuple[list[str], list[Override]] | None:
    """Tell choices of presets from values, as Hydra does; None when that is not enough."""
    presets: list[str] = []
    values: list[Override] = []
    for argument in arguments:
        override = parse(argument)
        if override is None or override.is_hydra_override():
            return None
        if chooses_preset(override, groups):
            presets.append(argument)
        else:
            values.append(override)
    return presets, values
