"""Settings of the property tests: how many examples, and the same ones at every run."""

from typing import Any

from hypothesis import HealthCheck, settings


def many(number: int) -> Any:
    """Return hypothesis' settings for a number of examples; nothing is timed or kept."""
    return settings(
        max_examples=number,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
