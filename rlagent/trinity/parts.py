"""What our configuration and a native YAML are translated to alike."""

import hashlib
import math
from pathlib import Path
from typing import Any

from rlagent.backends.base import RolloutEngine, Start, Trainer
from rlagent.backends.registry import engine_named, trainer_named
from rlagent.config.resolve import Resolved
from rlagent.config.schema import LearnConfig

MONITOR_TYPE = "rlagent.trinity.monitor.RunFolderMonitor"


def namespace(run_dir: Path, attempt: int) -> str:
    """Where Ray keeps the names of an attempt's actors.

    On a shared cluster the same trial may run from another folder, and Trinity's synchronizer
    outlives a driver that was killed: neither may be taken for this attempt's own.
    """
    place = hashlib.sha256(str(run_dir.absolute()).encode()).hexdigest()[:6]
    return f"rlagent-{run_dir.name}-{place}-{attempt}"


def engine_of(config: LearnConfig) -> RolloutEngine:
    """The rollout engine."""
    return engine_named(config.hardware.engine)


def trainer_of(config: LearnConfig) -> Trainer:
    """The trainer that goes with it."""
    return trainer_named(engine_of(config).trainer)


def start_of(resolved: Resolved) -> Start:
    """What engine and trainer are started with."""
    config, layout = resolved.config, resolved.layout
    hardware = config.hardware
    return Start(
        seed=config.seed,
        threads=int(hardware.threads),
        dtype=config.model.dtype,
        gpu_memory_utilization=float(hardware.gpu_memory_utilization),
        enforce_eager=hardware.enforce_eager,
        prefix_caching=hardware.prefix_caching,
        attention=hardware.attention,
        offload=bool(hardware.offload),
        max_model_len=int(config.model.max_model_len),
        vocab=config.model.shape.vocab,
        sequence_parallel=layout.sequence_parallel,
        concurrency=math.ceil(rollouts_at_once(resolved) / max(1, layout.engines)),
        in_turns=layout.colocated and not config.algorithm.max_lag,
        url=config.model.url,
        key_env=config.model.key_env,
    )


KEEP_BUSY = 256
"""Rollouts side by side that keep one engine on a GPU busy while nothing is trained."""

MOST_BY_URL = 32
"""Rollouts side by side that ask a model of somebody else's."""


def rollouts_at_once(resolved: Resolved) -> int:
    """Rollouts that run side by side: those of a step; where nothing is trained, as many as keep
    the engines busy."""
    config, layout = resolved.config, resolved.layout
    step = int(config.algorithm.batch_size) * int(config.algorithm.repeat_times)
    if layout.trainer_gpus:
        return step
    if engine_of(config).by_url:
        return min(step, MOST_BY_URL)
    return max(step, KEEP_BUSY * layout.engines) if engine_of(config).on_gpus else step


def cluster(resolved: Resolved) -> dict[str, Any]:
    """Trinity's `cluster`; set whole, so that Trinity does not start Ray to look."""
    hardware, layout = resolved.config.hardware, resolved.layout
    if not engine_of(resolved.config).on_gpus:
        # Trinity counts a GPU for each engine and for the trainer; Ray is asked for none.
        engines = layout.engines * layout.tensor_parallel + judges(resolved)
        return {"node_num": 1, "gpu_per_node": engines + 1}
    if layout.colocated:
        return {"node_num": 1, "gpu_per_node": 1}
    if hardware.nodes == 1 and not resolved.config.workflow.auxiliary_models:
        # Trinity gives the trainer every GPU that no engine has, also those that the layout
        # leaves free, for other trials.
        return {"node_num": 1, "gpu_per_node": layout.total_gpus}
    return {"node_num": hardware.nodes, "gpu_per_node": hardware.gpus}


def judges(resolved: Resolved) -> int:
    """Engines of auxiliary models on a CPU."""
    native = getattr(resolved.composed, "native", None)
    if native:
        return len((native.get("explorer") or {}).get("auxiliary_models") or [])
    return sum(model.engines for model in resolved.config.workflow.auxiliary_models)


def task_timeout(config: LearnConfig) -> int:
    """Seconds that Trinity gives a task: a rollout that takes too long ends before, by itself."""
    return math.ceil(config.workflow.timeout + 60)


def merge(tree: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """`tree` with `overrides` laid over it; dicts are merged, everything else is replaced.

    >>> merge({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}})
    {'a': {'b': 3, 'c': 2}}
    """
    merged = dict(tree)
    for key, value in overrides.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged
