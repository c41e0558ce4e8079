"""The values that an override gives its key, listed: never more than a sweep could try.

Hydra enumerates them one by one, so that a range of 1e12 would take its memory first.
"""

import itertools
import math
from collections.abc import Sequence
from decimal import DecimalException

from hydra.core.override_parser.types import Override, RangeSweep
from hydra.errors import HydraException

from rlagent.base.errors import ConfigError, Problem
from rlagent.config.overrides import parse_all
from rlagent.config.presets import preset_names

MOST = 1000
"""Values of one key, and trials of a grid; each trial is composed before the first one starts."""

REMEDY = "write choice(...) or range(...), or search it with sweep.sampler=tpe"


def parsed(overrides: Sequence[str], config_dirs: Sequence[str] = ()) -> list[Override]:
    """Return parsed overrides, whose globs find the presets.

    Raises:
        ConfigError: With every override that Hydra's grammar refuses.
    """
    return parse_all(overrides, _Presets(config_dirs))


def texts_of(override: Override) -> list[str]:
    """Return the values of a sweep as overrides write them.

    Raises:
        ConfigError: They cannot be listed, or are none, or too many.
    """
    value = override.value()
    if isinstance(value, RangeSweep):
        length_of(override, value)
    try:
        found = list(itertools.islice(override.sweep_string_iterator(), MOST + 1))
    except HydraException as error:
        raise refused(override, "cannot be enumerated", REMEDY) from error
    if not found:
        raise refused(override, "holds no value", REMEDY)
    if len(found) > MOST:
        raise refused(override, f"holds more than {MOST} values", "give fewer")
    return _as_typed(override, found)


def length_of(override: Override, value: RangeSweep) -> int:
    """Return how many values a range holds.

    Raises:
        ConfigError: It has none, or too many, or is no range at all.
    """
    try:
        start, stop, step = (float(end or 0) for end in (value.start, value.stop, value.step))
        number = math.ceil((stop - start) / step)
    except (ValueError, ArithmeticError, DecimalException) as error:
        remedy = "its ends must be finite and its step not 0: range(1,4)"
        raise refused(override, "is no range", remedy) from error
    if number < 1:
        raise refused(override, "holds no value", "the step leads from the first to the second end")
    if number > MOST:
        remedy = "take a larger step, or search with interval(...) and sweep.sampler=tpe"
        raise refused(override, f"holds {number} values, more than {MOST}", remedy)
    return number


def refused(override: Override, message: str, remedy: str = "") -> ConfigError:
    """Return what is wrong with the values of an override."""
    written = str(override.input_line).partition("=")[2]
    key = override.get_key_element().lstrip("+~")
    return ConfigError([Problem(key, written, message, remedy)])


def _as_typed(override: Override, values: list[str]) -> list[str]:
    """Return the values as they were typed where that is a plain list: Hydra rewrites 1e-4."""
    text = str(override.input_line).split("=", 1)[1]
    typed = [value.strip() for value in text.split(",")]
    plain = not any(sign in text for sign in "()[]{}'\"\\")
    return typed if plain and len(typed) == len(values) else values


class _Presets:
    """The one thing that Hydra's glob asks of a configuration loader."""

    def __init__(self, config_dirs: Sequence[str]) -> None:
        self.config_dirs = config_dirs

    def get_group_options(self, group: str, results_filter: object = None) -> list[str]:
        return preset_names(group, self.config_dirs)
