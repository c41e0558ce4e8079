"""The identity of a trial: what makes two runs the same run.

The composed configuration before `auto` is resolved, so that the same command is the same trial
on the same machine, without what only says where and how it is shown.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from rlagent.base.paths import whole_path
from rlagent.config.chat_templates import template_digest
from rlagent.config.fillable import without
from rlagent.config.presets import whole_dataset
from rlagent.config.schema import AUTO, LearnConfig

LEFT_OUT = {
    # More steps continue a run.
    "algorithm": ("total_steps", "total_epochs", "keep_checkpoints", "keep_best", "save_interval"),
    "monitor": None,
    "run": None,
    # How many trials there are and which is best is not the trial's own.
    "sweep": None,
    # What `rlagent evaluate` measures afterwards.
    "checkpoint": None,
    "evaluate": ("tasks", "name", "fresh"),
    # Where Ray is found, and what a plan is made for.
    "hardware": ("ray", "gpu"),
    # What the machine must have, and how much of it runs side by side.
    "workflow": ("packages", "requires", "concurrency"),
}
"""Groups (None: all of it) and fields that do not change a trial's identity."""

_STEPS = ("model.recipe.total_steps", "model.recipe.save_interval")
"""The same within a recipe."""

LEFT_OUT_OF_NATIVE = {
    "buffer": ("total_steps", "total_epochs"),
    "trainer": ("total_steps", "save_interval", "max_checkpoints_to_keep"),
    "monitor": None,
}
"""The same of a native Trinity YAML."""


def identity(
    config: LearnConfig, kept: Mapping[str, Any] | None = None, parent: str | None = None
) -> dict[str, Any]:
    """Return what a trial's id is made of, as plain data.

    Model and dataset count by their path: a folder by its absolute path, a hub id as written.

    Args:
        config: As composed; not resolved.
        kept: What was written against a preset or a recipe and is the schema's default, by dotted
            key: the composed values are those of a configuration in which nobody wrote it.
        parent: The checkpoint of another run that model.path names, in one spelling; None: it
            names none.
    """
    from rlagent.config.compose import to_mapping

    data = to_mapping(config)
    data = _without(data, LEFT_OUT)
    data = without(data, _STEPS)
    # What was trained before these could be asked for is the same run as ever.
    for name, plain in (("discount", 1), ("group_by", AUTO)):
        if data["algorithm"][name] == plain:
            del data["algorithm"][name]
    if config.evaluate.dataset is None:
        del data["evaluate"]["dataset"]
    else:
        data["evaluate"]["dataset"] = whole_dataset(config.evaluate.dataset)
    if all(value in (1, AUTO) for value in data["evaluate"].values()):
        del data["evaluate"]
    # Where the key is read from; and a model that runs here has no address.
    del data["model"]["key_env"]
    if config.model.url is None:
        del data["model"]["url"]
    if config.model.lora.rank is None:
        del data["model"]["lora"]
    if not config.model.recipe.lora_lr or config.model.lora.rank is None:
        del data["model"]["recipe"]["lora_lr"]
    data["run"] = {"name": config.run.name}
    for group, key in (("model", "path"), ("dataset", "path"), ("dataset", "eval_path")):
        data[group][key] = data[group][key] and whole_path(data[group][key])
    if config.model.warm_start is None:
        # A run from a checkpoint is the same, whoever trained that.
        for name in ("warm_start", "warm_start_data", "warm_start_overrides"):
            del data["model"][name]
    if parent is not None:
        data["model"]["path"] = parent
    if config.model.chat_template == AUTO:
        del data["model"]["chat_template"]
    elif config.model.chat_template:
        data["model"]["chat_template"] = template_digest(config.model.chat_template)
    for tasks in (data["dataset"], *data["dataset"]["mix"]):
        for key in ("args", "map", "filter"):
            if not tasks[key]:
                del tasks[key]
    for more in (*data["dataset"]["mix"], *data["workflow"]["auxiliary_models"]):
        more["path"] = whole_path(more["path"])
    native = getattr(config, "native", None)
    if native:
        data["native"] = _without(native, LEFT_OUT_OF_NATIVE)
    if counting := {key: value for key, value in (kept or {}).items() if key not in _STEPS}:
        data["written"] = counting
    return data


def trial_id(
    config: LearnConfig, kept: Mapping[str, Any] | None = None, parent: str | None = None
) -> str:
    """Return the id of a trial: 8 hexadecimal digits of a hash of its identity.

    Args:
        config: As composed; not resolved.
        kept: As for `identity`.
        parent: As for `identity`.
    """
    text = json.dumps(identity(config, kept, parent), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _without(data: dict[str, Any], left_out: Mapping[str, Sequence[str] | None]) -> dict[str, Any]:
    kept = {group: value for group, value in data.items() if left_out.get(group, ()) is not None}
    for group, names in left_out.items():
        section = kept.get(group)
        if names and isinstance(section, dict):
            kept[group] = {name: value for name, value in section.items() if name not in names}
    return kept
