"""From which step on a search may end a trial early; Optuna's pruners are samplers.py's."""

import math

from rlagent.config.metric_names import EVALUATED
from rlagent.config.schema import LearnConfig, SweepConfig


def prune_from(settings: SweepConfig, interval: int) -> int:
    """Return the first step at which a trial may be ended.

    Args:
        settings: The sweep's.
        interval: Steps between two held-out measurements; 0: not measured meanwhile.
    """
    return settings.prune_after or interval or 1


def idle_pruner(settings: SweepConfig, config: LearnConfig) -> list[str]:
    """Return that the pruner can end no trial early, where it looks at none before its end.

    Args:
        settings: The sweep's.
        config: Of a trial, resolved.
    """
    if settings.pruner == "none":
        return []
    steps, interval = int(config.algorithm.total_steps), config.algorithm.eval_interval or 1
    first = prune_from(settings, interval)
    if settings.metric.startswith(EVALUATED):
        # Measured every `interval` steps only.
        first = math.ceil(first / interval) * interval
    if first < steps:
        return []
    return [
        f"sweep.pruner={settings.pruner} changes nothing: it looks at a trial after {first} steps "
        f"at the earliest, and none has more than {steps}; lower algorithm.eval_interval or "
        "sweep.prune_after"
    ]
