"""Ranges as the commands over rollouts take them: steps `10-20`, rewards `0..0.5`."""

import argparse
from collections.abc import Callable
from typing import TypeVar

Number = TypeVar("Number", int, float)


def steps(text: str) -> tuple[int | None, int | None]:
    """First and last step; None where an end is open.

    Raises:
        argparse.ArgumentTypeError: It is no range.

    >>> steps("17"), steps("10-")
    ((17, 17), (10, None))
    """
    return _range(text, "-", int, "17, 10-20, 10- or -20")


def rewards(text: str) -> tuple[float | None, float | None]:
    """Least and greatest reward; None where an end is open.

    Raises:
        argparse.ArgumentTypeError: It is no range.
    """
    return _range(text, "..", float, "1, 0..0.5, 0.5.. or ..0.5")


def _range(
    text: str, between: str, read: Callable[[str], Number], allowed: str
) -> tuple[Number | None, Number | None]:
    least, found, greatest = text.partition(between)
    try:
        low = read(least) if least else None
        high = (read(greatest) if greatest else None) if found else low
    except ValueError:
        low = high = None
    if (low is None and high is None) or (low is not None and high is not None and low > high):
        raise argparse.ArgumentTypeError(f"{text!r} is no range; allowed: {allowed}")
    return low, high
