"""From a resolved configuration to Trinity's for an evaluation: an explorer and no trainer.

What engines, model and tasks become is translate.py's. Pure, but for the file of the tasks that are
still to be asked.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlagent.config.resolve import Resolved
from rlagent.config.supervised import is_supervised
from rlagent.trinity import parts, translate
from rlagent.trinity.kept_tasks import HELD_OUT, rows_file

MODE = "bench"
"""Trinity's word for an explorer without a trainer."""

ANY = "grpo"
"""An algorithm that is content with an explorer, where nothing is trained."""


def to_measure(
    resolved: Resolved, folder: Path, attempt: int, source: Path, name: str = HELD_OUT[0]
) -> dict[str, Any]:
    """Trinity's configuration for an evaluation, of the model that is configured.

    Args:
        resolved: Resolved for measuring.
        folder: Of the evaluation.
        attempt: Number of the attempt.
        source: The folder whose `data/` holds the tasks: the evaluation's own, or the run's.
        name: Of the folder that holds them there.
    """
    config = resolved.config
    algorithm = translate.algorithm(config)
    if is_supervised(config):
        # Trinity's own syncs as often as its trainer saves, and there is none.
        algorithm["algorithm_type"] = ANY
    workflow = translate.workflow_args(config, folder, attempt)
    tree: dict[str, Any] = {
        "mode": MODE,
        **translate.checkpoint_place(folder),
        "ray_namespace": parts.namespace(folder, attempt),
        "continue_from_checkpoint": True,
        "ignore_validator_suggestions": True,
        "algorithm": algorithm,
        "model": translate.model(config),
        "cluster": parts.cluster(resolved),
        "buffer": translate.buffer(config, folder, workflow),
        "explorer": translate.explorer(resolved),
        # Nobody hands weights over.
        "synchronizer": {"sync_method": "checkpoint"},
        "monitor": {"monitor_type": parts.MONITOR_TYPE},
    }
    tasks = held_out(tree)
    tasks["path"] = str(source / "data" / "tasks" / name)
    tasks["workflow_args"]["rows"] = str(rows_file(source / "data", name, HELD_OUT[1]))
    return parts.merge(parts.merge(tree, config.trinity), translate.checkpoint_place(folder))


def held_out(tree: dict[str, Any]) -> dict[str, Any]:
    """The taskset that an evaluation asks."""
    found: dict[str, Any] = tree["buffer"]["explorer_input"]["eval_tasksets"][0]
    return found


def asking(
    tree: dict[str, Any], model: str, namespace: str, places: Sequence[Any] | None, at: Path
) -> dict[str, Any]:
    """The tree for one model.

    Args:
        tree: From `to_measure`; it is not changed.
        model: Folder or hub id of its weights.
        namespace: Added to that of its actors: those of the model before it may still be ending.
        places: Of the tasks that are still to be asked; None: all.
        at: A folder that holds them then.
    """
    asked: dict[str, Any] = parts.merge(
        tree,
        {
            "model": {"model_path": model},
            "ray_namespace": f"{tree['ray_namespace']}-{namespace}",
            "buffer": {"explorer_input": {"eval_tasksets": [dict(held_out(tree))]}},
        },
    )
    if places is not None:
        at.mkdir(parents=True, exist_ok=True)
        lines = "".join(f"{json.dumps(place)}\n" for place in places)
        (at / f"{HELD_OUT[1]}.jsonl").write_text(lines, encoding="utf-8")
        held_out(asked)["path"] = str(at)
    return asked
