"""The timeline of a start: when each part was there, as seconds since the command began.

Each process notes its own times; the driver collects them and writes one row. On several hosts
the differences of their clocks are in it.
"""

import time

PREFIX = "startup/"


class Marks:
    """Times at which this process reached something, in seconds since the epoch."""

    def __init__(self) -> None:
        self._times: dict[str, float] = {}

    def mark(self, name: str) -> None:
        """Note that `name` is reached now; the first time counts."""
        self._times.setdefault(name, time.time())

    def times(self) -> dict[str, float]:
        """What was reached, by name."""
        return dict(self._times)


def timeline(times: dict[str, float], began: float) -> dict[str, float]:
    """Metrics `startup/{name}` in seconds since `began`, in the order in which they came.

    >>> timeline({"trainer_ready": 107.5, "ray": 103.0}, began=100.0)
    {'startup/ray': 3.0, 'startup/trainer_ready': 7.5}
    """
    ordered = sorted(times.items(), key=lambda item: item[1])
    return {PREFIX + name: at - began for name, at in ordered}
