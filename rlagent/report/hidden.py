"""Finds where curves of one chart have the same values and would hide each other.

The best curve is drawn last; where others lie under it they are drawn wider, so that they show.
"""

import itertools
from collections.abc import Hashable, Sequence

from rlagent.base.stats import Series


def points_under(curves: Sequence[Series]) -> list[list[int]]:
    """For each curve's points, how many earlier curves have the same point.

    >>> a, b = Series("", (0, 1, 2), (0.0, 0.5, 0.5)), Series("", (0, 1, 2), (1.0, 0.5, 0.5))
    >>> points_under([a, b])
    [[0, 0, 0], [0, 1, 1]]
    """
    return _counts([_points(curve) for curve in curves])


def stretches_under(curves: Sequence[Series]) -> list[list[tuple[slice, int]]]:
    """For each curve, its points along which earlier curves run, and how many those are.

    >>> a, b = Series("", (0, 1, 2), (0.0, 0.5, 0.5)), Series("", (0, 1, 2), (1.0, 0.5, 0.5))
    >>> stretches_under([a, b, a])
    [[], [(slice(1, 3, None), 1)], [(slice(0, 2, None), 1), (slice(1, 3, None), 2)]]
    """
    found = []
    for counts in _counts([list(itertools.pairwise(_points(curve))) for curve in curves]):
        runs = [(count, len(list(run))) for count, run in itertools.groupby(counts)]
        starts = itertools.accumulate((length for _, length in runs), initial=0)
        found.append(
            [
                (slice(start, start + length + 1), count)
                for start, (count, length) in zip(starts, runs, strict=False)
                if count
            ]
        )
    return found


def _points(curve: Series) -> list[tuple[float, float]]:
    return list(zip(curve.steps, curve.values, strict=True))


def _counts(parts: Sequence[Sequence[Hashable]]) -> list[list[int]]:
    sets = [set(part) for part in parts]
    return [
        [sum(item in earlier for earlier in sets[:place]) for item in part]
        for place, part in enumerate(parts)
    ]
