"""From a native Trinity YAML to what a run needs: completed, and on a CPU without what is for GPUs.

Which settings reach Trinity is trinity_table.py's.
"""

import copy
from pathlib import Path
from typing import Any

from rlagent.base.paths import resolve_path
from rlagent.config.algorithms import WITHOUT_ADVANTAGE
from rlagent.config.resolve import Resolved
from rlagent.trinity.parts import (
    MONITOR_TYPE,
    cluster,
    engine_of,
    merge,
    namespace,
    start_of,
    task_timeout,
    trainer_of,
)


def native_tree(
    native: dict[str, Any], resolved: Resolved, run_dir: Path, attempt: int
) -> dict[str, Any]:
    """A native configuration, completed where it says nothing and a run needs it."""
    total_steps = resolved.config.algorithm.total_steps
    kernel = trainer_of(resolved.config).kernel(resolved.config.hardware.attention)
    needed = {
        "ray_namespace": namespace(run_dir, attempt),
        "cluster": cluster(resolved),
        "buffer": {"total_steps": total_steps},
        "explorer": {
            "max_retry_times": 0,
            "concurrent_mode": "asynchronous",
            "rollout_model": {"enable_openai_api": True, "enable_history": True},
        },
        "trainer": {"total_steps": total_steps, **kernel},
        "data_processor": {"experience_pipeline": {"save_input": False}},
        "monitor": {"monitor_type": MONITOR_TYPE},
    }
    kind = (native.get("algorithm") or {}).get("algorithm_type")
    if kind in WITHOUT_ADVANTAGE:
        needed["algorithm"] = {"advantage_fn": WITHOUT_ADVANTAGE[kind]}
    tree = merge(needed, _with_local_paths(native))
    # Where they are null too: the tasks have been counted.
    for group in ("buffer", "trainer"):
        tree[group]["total_steps"] = tree[group]["total_steps"] or total_steps
    # What is obeyed by us rather than by Trinity: a new run, and seconds of a rollout.
    ours: dict[str, Any] = {
        "continue_from_checkpoint": True,
        "explorer": {"max_timeout": task_timeout(resolved.config)},
    }
    tree = merge(tree, ours)
    return tree if engine_of(resolved.config).on_gpus else on_cpu(tree, resolved)


def on_cpu(tree: dict[str, Any], resolved: Resolved) -> dict[str, Any]:
    """The same without what is for GPUs; what is left out is `set aside` in the table."""
    explorer, trainer = tree["explorer"], tree["trainer"]
    synchronizer = tree.get("synchronizer") or {}
    method = str(synchronizer.get("sync_method") or "nccl").lower()
    layout, engine, chosen = (
        resolved.layout,
        engine_of(resolved.config),
        trainer_of(resolved.config),
    )
    return {
        **tree,
        "mode": "both",
        "cluster": cluster(resolved),
        "explorer": {
            **explorer,
            "rollout_model": {
                **engine.of_native(explorer["rollout_model"]),
                "engine_num": layout.engines,
                "tensor_parallel_size": layout.tensor_parallel,
            },
            "auxiliary_models": [
                engine.of_native(model) for model in explorer.get("auxiliary_models") or []
            ],
        },
        "trainer": chosen.of_native(trainer, start_of(resolved)),
        "synchronizer": {
            **synchronizer,
            "sync_method": (
                chosen.sync_method(layout.colocated) if method in ("nccl", "online") else method
            ),
        },
    }


def _with_local_paths(native: dict[str, Any]) -> dict[str, Any]:
    """A native configuration in which `builtin:` paths are folders, which Trinity does not know."""
    tree = copy.deepcopy(native)
    explorer = tree.get("explorer") or {}
    for model in (tree.get("model") or {}, *(explorer.get("auxiliary_models") or [])):
        if model.get("model_path"):
            model["model_path"] = resolve_path(model["model_path"])
    given = (tree.get("buffer") or {}).get("explorer_input") or {}
    every = [
        given.get("taskset"),
        *(given.get("tasksets") or []),
        *(given.get("eval_tasksets") or []),
    ]
    for taskset in every:
        if taskset and taskset.get("path"):
            taskset["path"] = resolve_path(taskset["path"])
    return tree


def log_environment(tree: dict[str, Any]) -> dict[str, str]:
    """By which variables Trinity's loggers, in whatever process, learn what `log` says."""
    log = tree.get("log") or {}
    return {
        "TRINITY_LOG_LEVEL": str(log.get("level") or "INFO").upper(),
        "TRINITY_LOG_NODE_IP": "1" if log.get("group_by_node") else "0",
    }


def slots(resolved: Resolved) -> int | None:
    """Rollouts at once, where workflow.concurrency or explorer.runner_per_model asks for some, the
    fewer of both; None: all of a step."""
    config = resolved.config
    given = getattr(resolved.composed, "native", None) or config.trinity
    each = (given.get("explorer") or {}).get("runner_per_model")
    asked = [config.workflow.concurrency, each and each * resolved.layout.engines]
    return min((most for most in asked if most is not None), default=None)
