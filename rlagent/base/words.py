"""How numbers, times and commands are written for people, everywhere in the same way."""

import math
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path


def duration(seconds: float) -> str:
    """A time span in at most two units.

    >>> duration(48.4), duration(192), duration(7500)
    ('48 s', '3 min 12 s', '2 h 05 min')
    """
    total = max(0, round(seconds))
    if total < 60:
        return f"{total} s"
    minutes, rest = divmod(total, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def percent(share: float | None, digits: int = 1) -> str:
    """A share in percent; `-` for none.

    >>> percent(0.4), percent(None)
    ('40.0 %', '-')
    """
    return "-" if share is None or math.isnan(share) else f"{100 * share:.{digits}f} %"


def interval(low: float, high: float, digits: int = 1) -> str:
    """An interval of shares, in percent.

    >>> interval(0.312, 0.4)
    '[31.2, 40.0]'
    """
    return f"[{100 * low:.{digits}f}, {100 * high:.{digits}f}]"


def number(value: float | None) -> str:
    """A number in about four significant digits.

    >>> number(0.00012345), number(0.5), number(12345.6), number(3.0)
    ('1.23e-04', '0.5', '12,346', '3')
    """
    if value is None:
        return "-"
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if 0 < size < 0.001:
        return f"{value:.2e}"
    return f"{value:.4g}"


def counted(many: int, what: str) -> str:
    """A number of things.

    >>> counted(1, "turn"), counted(1200, "token")
    ('1 turn', '1,200 tokens')
    """
    return f"{many:,} {what}" + ("" if many == 1 else "s")


def short_path(path: str | os.PathLike[str]) -> str:
    """A path as one would type it: relative to the current folder when it is below it."""
    absolute, here = Path(path).absolute(), Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(absolute)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Cells as lines whose columns stand below each other.

    >>> aligned([["name", "steps"], ["a", "12"]])
    ['name  steps', 'a     12']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def python_command() -> str:
    """What to type for this Python: `python` when the shell finds it under that name."""
    found = shutil.which("python")
    if found and Path(found).absolute() == Path(sys.executable).absolute():
        return "python"
    return short_path(sys.executable)


def same_command(extra: dict[str, object] | None = None, argv: Sequence[str] = ()) -> str:
    """The command that started this process, as one would type it again.

    Args:
        extra: Overrides to add, or to put in the place of those given.
        argv: The process's arguments, interpreter first; its own when empty.
    """
    _, *rest = argv or sys.orig_argv
    extra = extra or {}
    kept = [word for word in rest if word.lstrip("+").split("=")[0] not in extra]
    words = [short_path(word) if os.path.isabs(word) else word for word in kept]
    words += [f"{key}={value}" for key, value in extra.items()]
    return " ".join([shlex.quote(python_command()), *(shlex.quote(word) for word in words)])


def script_command(extra: dict[str, object] | None = None, argv: Sequence[str] = ()) -> str:
    """How to run the script that called `learn` again; a notebook has none.

    Args:
        extra: Settings that have to be changed: a script takes no overrides, so they are named
            beside the command.
        argv: As for `same_command`.
    """
    settings = " ".join(f"{key}={value}" for key, value in (extra or {}).items())
    if not hasattr(sys.modules["__main__"], "__file__"):
        return f"call learn() again, with {settings or 'the same configuration'}"
    command = same_command(argv=argv)
    return f"{command}  # with {settings} in its configuration" if settings else command
