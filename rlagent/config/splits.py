"""Which tasks are held out, and what is to be said about them. Pure."""

import random
from collections.abc import Iterable, Sequence

DRAW_SEED = 0
"""Which held-out tasks are drawn does not depend on the run's seed: runs stay comparable."""

OWN_SHARE = 0.1
"""Share of a single file that is held out when nothing else is given."""

FEW = 8
"""Held-out tasks below which success moves in steps too large to say much."""


def draw(rows: int, number: int) -> list[int]:
    """Which `number` of so many rows are asked, in their order; 0 means all.

    >>> draw(3, 0), draw(100, 3)
    ([0, 1, 2], [49, 53, 97])
    """
    if number <= 0 or number >= rows:
        return list(range(rows))
    return sorted(random.Random(DRAW_SEED).sample(range(rows), number))


def own_part(rows: int, number: int) -> int:
    """How many rows of a single file are held out: a tenth, at most `number`, at least one.

    >>> own_part(40, 256), own_part(9000, 256), own_part(3, 256)
    (4, 256, 1)
    """
    most = max(1, round(rows * OWN_SHARE))
    return min(number, most) if number > 0 else most


def hold_out(rows: Sequence[str], number: int) -> tuple[list[int], list[int]]:
    """Which rows of a single file are trained on and which are held out, see `own_part`.

    Equal rows stay on one side, so that there may be fewer held-out ones; where all rows are equal
    the held-out ones are trained on too.

    Args:
        rows: Content hash of each row.
        number: As for `own_part`; more only where the fewest equal rows are more.
    """
    places: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        places.setdefault(row, []).append(index)
    groups = list(places.values())
    wanted = own_part(len(rows), number)
    if len(groups) < 2:
        return list(range(len(rows))), draw(len(rows), wanted)
    chosen = random.Random(DRAW_SEED).sample(range(len(groups)), min(wanted, len(groups)))
    rest = set(range(len(groups))) - set(chosen)
    taken: list[int] = []
    for index in [*chosen, *sorted(rest)]:
        if len(taken) + len(groups[index]) <= wanted:
            taken += groups[index]
    held_out = taken or min(groups, key=len)
    return sorted(set(range(len(rows))) - set(held_out)), sorted(held_out)


def notes(held_out: int, asked_too: int, column: str | None) -> list[str]:
    """What is to be said about held-out tasks.

    Args:
        held_out: How many there are.
        asked_too: How many of them ask what a training task asks.
        column: By which they are compared, see `question_column`.

    >>> notes(256, 0, "question")
    []
    """
    found = []
    if held_out < FEW:
        tasks = "1 held-out task" if held_out == 1 else f"only {held_out} held-out tasks"
        found.append(f"{tasks}: each moves held-out success by {100 / held_out:.0f} points")
    if asked_too:
        what = "a training task" if column is None else f"the {column} of a training task"
        has = "has" if asked_too == 1 else "have"
        found.append(
            f"{asked_too} of {held_out} held-out tasks {has} {what}: "
            "held-out success then measures memory too"
        )
    return found


def repeated(held_out: Sequence[str], training: Iterable[str]) -> int:
    """How many of the held-out questions stand among the training ones."""
    known = set(held_out).intersection(training)
    return sum(1 for question in held_out if question in known)
