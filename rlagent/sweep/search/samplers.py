"""Optuna's parts by the names of the settings: distributions, samplers, pruners."""

import warnings
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from rlagent.config.schema import SweepConfig
from rlagent.sweep.search.pruning import prune_from
from rlagent.sweep.search.space import Dimension, Space


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Return the space as Optuna has it, by key."""
    return {dimension.name: _distribution(dimension) for dimension in space.dimensions}


def make_sampler(settings: SweepConfig, asked: int) -> optuna.samplers.BaseSampler:
    """Return the sampler of `sweep.sampler`.

    Args:
        settings: The sweep's.
        asked: Trials that the study has: a continued one must not draw the same numbers again.
    """
    seed, kind = settings.seed + asked, settings.sampler
    with warnings.catch_warnings():
        # constant_liar is called experimental; it keeps trials that run at once apart.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if kind == "tpe":
            startup = settings.startup_trials
            return optuna.samplers.TPESampler(
                seed=seed, n_startup_trials=startup, constant_liar=True
            )
        if kind == "cmaes":
            return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
        # A grid is handed out by study.py: Optuna's own ends the study in a way that ask and
        # tell do not allow.
        return optuna.samplers.RandomSampler(seed=seed)


def make_pruner(settings: SweepConfig, steps: int, interval: int) -> optuna.pruners.BasePruner:
    """Return the pruner of `sweep.pruner`.

    Args:
        settings: The sweep's.
        steps: Steps of a trial.
        interval: Steps between two held-out measurements; 0: not measured meanwhile.
    """
    least = prune_from(settings, interval)
    factor = settings.reduction_factor
    match settings.pruner:
        case "asha":
            return optuna.pruners.SuccessiveHalvingPruner(least, reduction_factor=factor)
        case "hyperband":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return optuna.pruners.HyperbandPruner(
                    min_resource=least, max_resource=max(steps, least), reduction_factor=factor
                )
        case "median":
            # `n_warmup_steps` is the last step without pruning.
            return optuna.pruners.MedianPruner(settings.startup_trials, least - 1)
    return optuna.pruners.NopPruner()


def _distribution(dimension: Dimension) -> BaseDistribution:
    if dimension.choices:
        return CategoricalDistribution(dimension.choices)
    bounds: dict[str, Any] = {"low": dimension.low, "high": dimension.high, "log": dimension.log}
    if dimension.integer:
        return IntDistribution(**bounds, step=int(dimension.step or 1))
    return FloatDistribution(**bounds, step=dimension.step)
