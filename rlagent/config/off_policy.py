"""Which policy is old, which proximal, and whether the loss corrects for the difference.

Decides `algorithm.off_policy` and refuses what would be wrong; the weights themselves are
backends/off_policy.py's.
"""

from typing import Any

from rlagent.backends.registry import engine_named
from rlagent.base.errors import Problem
from rlagent.config.algorithms import (
    ADVANTAGES_IN_TRAINER,
    MASKED,
    NONE,
    OF_SEQUENCES,
    TRUNCATED,
    UNWEIGHTED,
)
from rlagent.config.resolution import Resolution
from rlagent.config.schema import AUTO, LearnConfig
from rlagent.config.step_workload import several_updates

KEY = "algorithm.off_policy"
LEAST = 1e-9
"""In verl's words a mask has a lower bound: here below every weight (off_policy.FURTHEST)."""
ON_POLICY = "algorithm.max_lag=0 algorithm.sync_interval=1"


def lags(config: LearnConfig) -> bool:
    """Whether samples may be of older weights than those that are trained."""
    algorithm = config.algorithm
    interval = algorithm.sync_interval
    return algorithm.max_lag > 0 or (isinstance(interval, int) and interval > 1)


def resolve_off_policy(resolution: Resolution) -> None:
    """Fill `algorithm.off_policy=auto`, say what it means, and refuse what would be wrong.

    `recompute_old_logprobs` and `sync_interval` are filled. Where nothing is trained, nothing is
    wrong.
    """
    config = resolution.config
    if config.algorithm.off_policy == AUTO:
        resolution.fill(KEY, *_automatic(config, resolution.native))
    if not (resolution.native or resolution.measures or resolution.alone):
        resolution.problems += off_policy_problems(config)
        resolution.chose("policies", policies(config), _otherwise(config))


def policies(config: LearnConfig) -> str:
    """Return which policy is old, which proximal, who computes what, and what corrects for lag."""
    algorithm = config.algorithm
    behaviour = "the behaviour policy's log-probabilities are those that the engine recorded"
    if lags(config):
        most = algorithm.max_lag + int(algorithm.sync_interval) - 1
        behaviour += f", of weights up to {most} step{'s' * (most > 1)} older"
    if not algorithm.recompute_old_logprobs:
        return f"old is the behaviour policy: {behaviour}; the loss's ratio is to it"
    where = "in the update itself, so that the ratio is 1 and nothing is clipped"
    if several_updates(algorithm) or algorithm.name in ADVANTAGES_IN_TRAINER:
        where = "in a pass before the updates"
    old = (
        "old is the proximal policy, that of the weights at the start of a step; the trainer "
        f"computes its log-probabilities {where}; {behaviour}"
    )
    if algorithm.off_policy != NONE:
        return f"{old}; {_weighting(config)}"
    return f"{old}; nothing corrects for that" if lags(config) else old


def _weighting(config: LearnConfig) -> str:
    algorithm = config.algorithm
    what = "experience" if algorithm.off_policy.startswith(OF_SEQUENCES) else "token"
    most = f"{algorithm.off_policy_max:g}"
    bound = f"at most {most}"
    if algorithm.off_policy.endswith(MASKED):
        bound = f"masked outside {algorithm.off_policy_min or 0:g} to {most}"
    return f"each {what} counts by proximal / behaviour, {bound} ({algorithm.off_policy})"


def _otherwise(config: LearnConfig) -> str:
    if config.algorithm.off_policy != NONE:
        return f"{KEY}=mis, or {ON_POLICY}"
    return "algorithm.recompute_old_logprobs=" + (
        "false" if config.algorithm.recompute_old_logprobs else "true"
    )


def _automatic(config: LearnConfig, native: bool) -> tuple[str, str]:
    if native:
        return NONE, "a native YAML is taken as written"
    if not config.algorithm.recompute_old_logprobs:
        return NONE, "the loss's own ratio is to the behaviour policy"
    if lags(config):
        return TRUNCATED, "samples are of older weights"
    return NONE, "samples are of the weights at hand"


def off_policy_problems(config: LearnConfig) -> list[Problem]:
    """Return what would be trained on wrongly, or has no effect; of a resolved configuration."""
    algorithm = config.algorithm
    kind, found = algorithm.off_policy, _overruled(config)
    if algorithm.off_policy_min is not None and not kind.endswith(MASKED):
        found.append(
            Problem(
                f"{KEY}_min",
                algorithm.off_policy_min,
                f"nothing is masked with {KEY}={kind}",
                f"leave it out, or take {KEY}={MASKED}",
            )
        )
    if kind == NONE:
        return found + _uncorrected(config)
    if not algorithm.recompute_old_logprobs:
        found.append(
            Problem(
                KEY,
                kind,
                "with algorithm.recompute_old_logprobs=false the loss's own ratio is to the "
                "behaviour policy, and weights would count it twice",
                "leave one of the two out",
            )
        )
    if reason := UNWEIGHTED.get(algorithm.name):
        found.append(
            Problem(
                KEY,
                kind,
                f"{algorithm.name} cannot be weighted: {reason}",
                f"take {ON_POLICY}, or algorithm.recompute_old_logprobs=false",
            )
        )
    for setting in _unknown_to_trainer(config):
        found.append(
            Problem(
                KEY,
                kind,
                f"{setting} leaves tokens out, and {config.hardware.engine} records probabilities "
                "of what is left, which the trainer cannot compute: their ratio would be wrong",
                f"leave {setting.partition('=')[0]} out, or take {ON_POLICY}",
            )
        )
    return found


def _overruled(config: LearnConfig) -> list[Problem]:
    """Return Trinity's word for recompute_old_logprobs where it says the opposite of that."""
    theirs = (config.trinity.get("algorithm") or {}).get("bypass_old_logprobs")
    ours = bool(config.algorithm.recompute_old_logprobs)
    if theirs is None or theirs != ours:
        return []
    key, words = "algorithm.recompute_old_logprobs", ("false", "true")
    return [
        Problem(
            "trinity.algorithm.bypass_old_logprobs",
            theirs,
            f"contradicts {key}={words[ours]}, from which {KEY} follows too",
            f"set {key}={words[not ours]} instead",
        )
    ]


def _uncorrected(config: LearnConfig) -> list[Problem]:
    algorithm = config.algorithm
    if not lags(config) or not algorithm.recompute_old_logprobs or algorithm.allow_uncorrected_lag:
        return []
    return [
        Problem(
            KEY,
            NONE,
            f"with algorithm.max_lag={algorithm.max_lag} and "
            f"algorithm.sync_interval={algorithm.sync_interval} samples of older weights would "
            "be trained on as if the weights at hand had drawn them",
            f"take {TRUNCATED}, or say so: algorithm.allow_uncorrected_lag=true",
        )
    ]


def _unknown_to_trainer(config: LearnConfig) -> list[str]:
    """Return which settings restrict sampling in a way that the trainer does not learn of."""
    model, engine = config.model, engine_named(config.hardware.engine)
    if engine.tells_allowed:
        return []
    found = []
    if model.top_p < 1:
        found.append(f"model.top_p={model.top_p:g}")
    if model.top_k > 0:
        found.append(f"model.top_k={model.top_k}")
    if model.tool_choice == "as_asked" and model.tool_call_parser is not None:
        found.append("model.tool_choice=as_asked")
    return found


def rollout_correction(config: LearnConfig) -> dict[str, Any] | None:
    """Return Trinity's `algorithm.rollout_correction`, in verl's words; None: no correction."""
    algorithm = config.algorithm
    kind = algorithm.off_policy
    if kind == NONE:
        return None
    most: float | str = algorithm.off_policy_max
    if kind.endswith(MASKED):
        most = f"{algorithm.off_policy_min or LEAST:g}_{most:g}"
    level = "sequence" if kind.startswith(OF_SEQUENCES) else "token"
    return {"rollout_is": level, "rollout_is_threshold": most}
