"""Reads a model's shape from its config.json, and compares it with what a preset says."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from rlagent.base.errors import Problem
from rlagent.base.model_shape import ModelShape
from rlagent.base.origins import FILLED, origins
from rlagent.base.paths import local_path
from rlagent.config.estimate import hub_cache

_NAMES = {
    "layers": "num_hidden_layers",
    "hidden": "hidden_size",
    "intermediate": "intermediate_size",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "vocab": "vocab_size",
    "tied": "tie_word_embeddings",
}


def read_shape(path: str) -> ModelShape | None:
    """Return the shape in the config.json of a local folder or of a cached hub model.

    None when there is no such file here, or it is no decoder-only transformer.
    """
    data = _read_config(path)
    values = {
        ours: data[theirs] for ours, theirs in _NAMES.items() if isinstance(data.get(theirs), int)
    }
    if "layers" not in values:
        return None
    # Hugging Face's own defaults for what a config.json may leave out.
    values.setdefault("kv_heads", values.get("heads", 0))
    if "head_dim" not in values and values.get("heads") and values.get("hidden"):
        values["head_dim"] = values["hidden"] // values["heads"]
    return ModelShape(**values)


def read_positions(path: str) -> int | None:
    """Return the longest sequence, in tokens, that the positions of a model here cover.

    None when config.json does not say, or scales its positions further.
    """
    data = _read_config(path)
    # transformers 5 writes rope_parameters also where nothing is scaled.
    scaling = data.get("rope_scaling") or data.get("rope_parameters") or {}
    if not isinstance(scaling, dict):
        return None
    if scaling.get("rope_type", scaling.get("type", "default")) != "default":
        return None
    positions = data.get("max_position_embeddings")
    return positions if isinstance(positions, int) else None


def shape_problems(stated: ModelShape, read: ModelShape, path: str) -> list[Problem]:
    """Return where the shape that a person wrote differs from the one that the model has.

    A number of 0 is unknown, and differs from none.
    """
    problems = []
    where = origins(stated)
    for item in dataclasses.fields(ModelShape):
        said, found = getattr(stated, item.name), getattr(read, item.name)
        is_written = item.name in where and not where[item.name].startswith(FILLED)
        if said != found and is_written and (said or item.name == "tied"):
            problems.append(
                Problem(
                    f"model.shape.{item.name}",
                    said,
                    f"config.json of {path} says {found}",
                    "correct the preset or choose another model.path",
                )
            )
    return problems


def _read_config(path: str) -> dict[str, Any]:
    file = _config_file(path)
    if file is None:
        return {}
    try:
        data = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        return {}  # model_files.py names what is wrong with it.
    data = data.get("text_config", data) if isinstance(data, dict) else {}
    return data if isinstance(data, dict) else {}


def _config_file(path: str) -> Path | None:
    local = local_path(path)
    if local is not None:
        file = local / "config.json"
        return file if file.is_file() else None
    snapshots = hub_cache() / f"models--{path.replace('/', '--')}" / "snapshots"
    files = sorted(snapshots.glob("*/config.json")) if snapshots.is_dir() else []
    return files[-1] if files else None
