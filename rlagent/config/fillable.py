"""What a preset that `auto` takes may set, and the recipe of a model.

In a file `auto` stands there for "nobody wrote it", whatever the type of the field. All other
values of a file count as written, and nothing replaces them.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from rlagent.base.origins import AUTO, leaves, origins
from rlagent.config.schema import LearnConfig

FILLABLE = ("model", "dataset", "algorithm.kl_coef")
"""Groups and keys."""


def left_to_auto(data: dict[str, Any]) -> list[str]:
    """Return the fillable keys of plain data whose value is `auto`."""
    return [key for key, value in leaves(data) if value == AUTO and _is_in(key, FILLABLE)]


def without(data: dict[str, Any], keys: Sequence[str], prefix: str = "") -> dict[str, Any]:
    """Return plain data without some dotted keys.

    >>> without({"model": {"path": "auto", "top_k": 5}}, ["model.path"])
    {'model': {'top_k': 5}}
    """
    return {
        name: without(value, keys, f"{prefix}{name}.") if isinstance(value, dict) else value
        for name, value in data.items()
        if f"{prefix}{name}" not in keys
    }


def left_open(config: LearnConfig) -> list[str]:
    """Return the keys that nobody wrote and that resolving may still fill by preset or recipe."""
    model, found = config.model, ["algorithm.kl_coef"]
    if model.path == AUTO:
        found.append("model")
    elif model.name == AUTO:
        found += ["model.recipe", "model.shape"]
    if config.dataset.path == AUTO:
        found.append("dataset")
    written = origins(config)
    keys = [key for key, _ in leaves(dataclasses.asdict(config))]
    return [key for key in keys if _is_in(key, found) and key not in written]


def _is_in(key: str, groups: Sequence[str]) -> bool:
    return f"{key}.".startswith(tuple(f"{name}." for name in groups))
