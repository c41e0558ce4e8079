"""What is wrong with a configuration, one line per mistake; finding mistakes is check.py's work."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One mistake in a configuration.

    Args:
        key: The dotted key, the flag or the words that are wrong; may be empty.
        value: What was given for it; None prints no value.
        message: What is wrong, and what is allowed.
        remedy: What to do; may be empty.
    """

    key: str
    value: object
    message: str
    remedy: str = ""

    @property
    def head(self) -> str:
        """What is wrong, as written: `key=value`, or the key alone."""
        return self.key if self.value is None else f"{self.key}={written(self.value)}"

    def __str__(self) -> str:
        """Return `key=value: message; remedy` as one line."""
        line = f"{self.head}: {self.message}" if self.head else self.message
        if self.remedy:
            line = f"{line}; {self.remedy}"
        return "".join(map(_shown, " ".join(line.split())))


def _shown(sign: str) -> str:
    """Return a character, or its escape when it would change the line that it stands in."""
    return sign if sign.isprintable() else ascii(sign)[1:-1]


_WHOLE = 1e15
"""Whole numbers from here on are shorter with an exponent."""


class ConfigError(Exception):
    """The configuration is wrong; `problems` holds every mistake that was found."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: list[Problem] = list(problems)
        super().__init__(str(self))

    def __str__(self) -> str:
        """Return one line per problem."""
        return "\n".join(str(problem) for problem in self.problems)


class UnreachableError(ConfigError):
    """What the configuration names cannot be reached now; the configuration may be right."""


def raise_if_any(problems: Iterable[Problem]) -> None:
    """Raise ConfigError when there is at least one problem."""
    found = list(problems)
    if found:
        raise ConfigError(found)


def written(value: object, limit: int = 80) -> str:
    """Return a value as one writes it on the command line, cut to a length.

    >>> written(None), written(True), written(4.0), written(1e-5)
    ('null', 'true', '4', '1e-05')
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        # A whole number in a file became a float where a number may have a fraction.
        return f"{value:.0f}" if abs(value) < _WHOLE else str(value)
    if isinstance(value, int) and abs(value) >= 10**limit:
        # More digits than Python turns into text.
        return f"a number of more than {limit} digits"
    text = str(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
