"""The space of a search: what may differ between trials, and within which bounds.

Written as Hydra's sweepers have it, on the command line or in `hydra.sweeper.params`, and read by
Hydra's own parser. Pure; Optuna's view of it is samplers.py's, composing its corners corners.py's.
"""

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from rlagent.base.errors import ConfigError, Problem, raise_if_any
from rlagent.config.command import Command
from rlagent.config.compose import Draft
from rlagent.config.overrides import key_of
from rlagent.sweep import grid
from rlagent.sweep.values import length_of, parsed, refused, texts_of

MOST_CORNERS = 32
"""Corners that are composed at most (a quarter second each); a larger space is sampled at every
end of every key."""

TRIALS = 20
"""Trials of a search unless sweep.n_trials says otherwise; a grid has as many as it has."""

DIGITS = 6
"""Significant digits of a suggested number: 1e-4 times anything stays readable."""

_TAGS = {"log", "int"}


@dataclass(frozen=True)
class Dimension:
    """One key of a space.

    Args:
        key: As overrides write it, with `+` where it needs one.
        choices: Its values as typed; empty for numbers between bounds.
        low: Lower bound, itself included.
        high: Upper bound, itself included.
        step: Distance of two values; None: any number between the bounds.
        log: Whether equal ratios are equally likely, rather than equal distances.
        integer: Whether only whole numbers are meant.
    """

    key: str
    choices: tuple[str, ...] = ()
    low: float = 0
    high: float = 0
    step: float | None = None
    log: bool = False
    integer: bool = False

    @property
    def name(self) -> str:
        """The key without `+`."""
        return key_of(self.key)

    @property
    def numeric(self) -> bool:
        """Whether it is a number between bounds, rather than one of several names."""
        return not self.choices

    def text(self, value: float | str) -> str:
        """Return a value as an override writes it, kept within the bounds.

        >>> Dimension("a", low=1e-5, high=1e-3).text(0.000123456789)
        '0.000123457'
        """
        if isinstance(value, str):
            return value
        if self.integer:
            return str(int(value))
        rounded = float(f"{value:.{DIGITS}g}")
        return repr(min(max(rounded, float(self.low)), float(self.high)))

    def ends(self) -> list[str]:
        """The values at its ends; of names, which have no order, all."""
        if self.choices:
            return list(self.choices)
        return list(dict.fromkeys([self.text(self.low), self.text(self.high)]))

    def values(self) -> list[float | str]:
        """Every value.

        Raises:
            ConfigError: There are too many to name.
        """
        if self.choices:
            return list(self.choices)
        if self.step is None:
            raise ConfigError(
                [
                    Problem(
                        self.name,
                        self.words(),
                        "a grid needs values that can be listed",
                        "write choice(...) or range(...), or take sweep.sampler=tpe or random",
                    )
                ]
            )
        first, step = Decimal(str(self.low)), Decimal(str(self.step))
        count = int((Decimal(str(self.high)) - first) / step) + 1
        kind = int if self.integer else float
        return [kind(first + index * step) for index in range(count)]

    def words(self) -> str:
        """What it may be, for people."""
        if self.choices:
            return ", ".join(self.choices)
        text = f"{self.text(self.low)} to {self.text(self.high)}"
        if self.step is not None and (self.step != 1 or not self.integer):
            text += f" in steps of {self.step}"
        return text + (", whole" if self.integer else "") + (", log scale" if self.log else "")


@dataclass(frozen=True)
class Space:
    """What a search varies, and what all its trials share.

    Args:
        dimensions: The keys that differ, in the order written.
        fixed: Overrides that all trials have.
    """

    dimensions: tuple[Dimension, ...]
    fixed: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The keys that differ."""
        return [dimension.name for dimension in self.dimensions]

    def overrides(self, values: Sequence[str]) -> list[str]:
        """Return the overrides that set a trial apart, given a value per dimension."""
        pairs = zip(self.dimensions, values, strict=True)
        return [f"{dimension.key}={value}" for dimension, value in pairs]

    def corners(self, most: int = MOST_CORNERS) -> list[tuple[str, ...]]:
        """Return the combinations of the ends of all keys.

        Of more than `most`, those in which at most one key leaves its first end, and the one in
        which all have left it: every end of every key is among them.
        """
        ends = [dimension.ends() for dimension in self.dimensions]
        if math.prod(len(values) for values in ends) <= most:
            return list(itertools.product(*ends))
        first = tuple(values[0] for values in ends)
        found = [first, tuple(values[-1] for values in ends)]
        for index, values in enumerate(ends):
            found += [(*first[:index], value, *first[index + 1 :]) for value in values[1:]]
        return list(dict.fromkeys(found))

    def combinations(self) -> Iterator[dict[str, float | str]]:
        """Every combination of values, by key; the last key varies fastest.

        Raises:
            ConfigError: Some values cannot be listed.
        """
        values, problems = [], []
        for dimension in self.dimensions:
            try:
                values.append(dimension.values())
            except ConfigError as error:
                problems += error.problems
        raise_if_any(problems)
        names = self.names
        return (dict(zip(names, each, strict=True)) for each in itertools.product(*values))

    def fingerprint(self) -> str:
        """8 hexadecimal digits that change with any bound or choice."""
        written = json.dumps([repr(dimension) for dimension in self.dimensions])
        return hashlib.sha256(written.encode()).hexdigest()[:8]


def space_of(command: Command, base: Draft) -> Space:
    """Return the space that a command spans, with what presets of a search bring.

    A value typed for a key wins over the preset's space for it.

    Raises:
        ConfigError: With everything that is wrong with it.
    """
    typed = [grid.as_swept(text) for text in command.overrides]
    raise_if_any(grid.doubled(typed))
    return parse_space([*typed, *grid.brought(base, typed)], command.config_dirs)


def parse_space(overrides: Sequence[str], config_dirs: Sequence[str] = ()) -> Space:
    """Return the space of some overrides; those with one value are fixed.

    >>> parse_space(["seed=1", "algorithm.lr=tag(log,interval(1e-5,1e-3))"]).dimensions[0].words()
    '1e-05 to 0.001, log scale'

    Raises:
        ConfigError: With everything that is wrong, also when nothing differs.
    """
    dimensions, fixed, problems = [], [], []
    texts = [grid.as_swept(text) for text in overrides]
    for text, override in zip(texts, parsed(texts, config_dirs), strict=True):
        if not override.is_sweep_override():
            fixed.append(text)
            continue
        try:
            dimensions.append(_dimension(override))
        except ConfigError as error:
            problems += error.problems
    if not dimensions and not problems:
        example = "algorithm.lr=tag(log,interval(1e-5,1e-3))"
        problems.append(
            Problem("sweep.sampler", None, "there is nothing to search", f"add '{example}'")
        )
    raise_if_any(problems)
    return Space(tuple(dimensions), tuple(fixed))


def _dimension(override: Override) -> Dimension:
    key, value = override.get_key_element(), override.value()

    def wrong(message: str, remedy: str = "") -> ConfigError:
        return refused(override, message, remedy)

    if not isinstance(value, (IntervalSweep, RangeSweep)):
        return Dimension(key, tuple(dict.fromkeys(texts_of(override))))
    unknown = sorted(value.tags - _TAGS)
    if unknown:
        raise wrong(f"there is no tag {', '.join(unknown)}; there are int and log")
    log = "log" in value.tags
    if isinstance(value, IntervalSweep):
        assert value.start is not None
        assert value.end is not None
        low, high = _number(value.start), _number(value.end)
        if not (math.isfinite(low) and math.isfinite(high)):
            raise wrong("both bounds must be finite")
        integer = "int" in value.tags or isinstance(value.start, int)
        if integer:
            low, high = math.ceil(low), math.floor(high)
        step: float | None = 1 if integer else None
    else:
        length_of(override, value)
        values = list(value.range())
        low, high = float(min(values)), float(max(values))
        integer = all(float(item).is_integer() for item in (*values, value.step))
        step = abs(float(value.step))
        if integer:
            low, high, step = int(low), int(high), int(step)
        if log and not (integer and step == 1):
            raise wrong("a log scale has no steps", "write tag(log,interval(...))")
    if low > high:
        raise wrong("the lower bound comes first")
    if log and low <= 0:
        raise wrong("a log scale starts above 0")
    return Dimension(key, (), low, high, step, log, integer)


def _number(end: float) -> float:
    """Return a bound as a float; infinite where it has more digits than a float takes."""
    try:
        return float(end)
    except OverflowError:
        return math.inf
