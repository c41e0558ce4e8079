"""What a field of the schema declares beside its type: the values that it takes, what `auto`
becomes, and the fields of Trinity that it is translated to. Whether a value fits is asked here.

Types are spec.py's, and what several fields mean together is contradictions.py's.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rlagent.base.errors import Problem, written
from rlagent.base.names import did_you_mean
from rlagent.base.paths import path_fault

LIMITS = "limits"
"""Where a dataclass's field keeps its Limits, in the metadata."""

ABOUT = "about"
"""Where it keeps its About."""

DAY = 86400
"""Seconds."""


@dataclass(frozen=True)
class About:
    """What follows from a field, beside what is checked.

    Args:
        auto: What `auto` becomes, in words.
        trinity: Dotted fields of Trinity that say the same, separated by spaces.
        binding: Whether other settings follow from it too, so that `trinity.*` must not contradict
            it. Elsewhere `trinity.*` wins.
    """

    auto: str = ""
    trinity: str = ""
    binding: bool = False


NO_MORE = About()
"""Of a field from which nothing else follows."""


@dataclass(frozen=True)
class Limits:
    """What a field takes beside its type; `auto` and null are not asked about.

    Args:
        least: Smallest number.
        most: Largest number.
        above: Numbers are larger than this.
        below: Numbers are smaller than this.
        also: A number outside of these that has a meaning of its own.
        note: What a number means that is not what it seems, such as `0: all`.
        unit: Of the number, for the message.
        choices: The words that are allowed; empty allows every one.
        path: Whether it names a file, a folder or something of the hub.
        empty: What to do about an empty text; empty allows it.
    """

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    also: int | None = None
    note: str = ""
    unit: str = ""
    choices: tuple[str, ...] = ()
    path: bool = False
    empty: str = ""

    def problem(self, key: str, value: Any) -> Problem | None:
        """Return what is wrong with a value of the right type, None when nothing is."""
        if isinstance(value, str):
            return self._text_problem(key, value)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return None if self.holds(value) else Problem(key, value, f"must be {self.words()}")
        return None

    def holds(self, value: float) -> bool:
        """Whether a number is within the bounds."""
        if self.also is not None and value == self.also:
            return True
        return (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def words(self) -> str:
        """Return the bounds in words.

        >>> Limits(least=1, most=8).words(), Limits(above=0, below=1).words()
        ('at least 1 and at most 8', 'above 0 and below 1')
        """
        named = (
            ("at least", self.least),
            ("above", self.above),
            ("at most", self.most),
            ("below", self.below),
        )
        parts = [f"{words} {written(end)}" for words, end in named if end is not None]
        text = " and ".join(parts) + (f" {self.unit}" if self.unit else "")
        if self.also is not None:
            return f"{self.also} ({self.note}) or {text}"
        return f"{text} ({self.note})" if self.note else text

    def _text_problem(self, key: str, value: str) -> Problem | None:
        if self.empty and not value.strip():
            return Problem(key, "", "must not be empty", self.empty)
        if self.choices and value not in self.choices:
            allowed = f"must be one of {', '.join(self.choices)}"
            return Problem(key, value, allowed, did_you_mean(value, self.choices))
        fault = path_fault(value) if self.path else ""
        return Problem(key, value, fault) if fault else None


def number(
    default: Any,
    least: float | None = None,
    most: float | None = None,
    *,
    above: float | None = None,
    below: float | None = None,
    also: int | None = None,
    note: str = "",
    unit: str = "",
    **about: Any,
) -> Any:
    """Return a dataclass's field for a number; arguments as for Limits and About."""
    return plain(default, limits=Limits(least, most, above, below, also, note, unit), **about)


def word(default: Any, choices: Sequence[str], **about: Any) -> Any:
    """Return a dataclass's field for one of some words; further arguments as for About."""
    return plain(default, limits=Limits(choices=tuple(choices)), **about)


def place(default: Any, empty: str = "", **about: Any) -> Any:
    """Return a dataclass's field for a path; `empty` says what to do about an empty one."""
    return plain(default, limits=Limits(path=True, empty=empty), **about)


def text(default: Any, empty: str) -> Any:
    """Return a dataclass's field for a text that must not be empty; `empty` says what to do."""
    return plain(default, limits=Limits(empty=empty))


def finite(default: Any) -> Any:
    """Return a dataclass's field for a reward: any number that sums and means can be taken of."""
    return number(default, -1e9, 1e9)


def plain(default: Any, limits: Limits | None = None, **about: Any) -> Any:
    """Return a dataclass's field for any value of its type; further arguments as for About."""
    return dataclasses.field(default=default, metadata={LIMITS: limits, ABOUT: About(**about)})
