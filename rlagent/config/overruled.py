"""Settings of `trinity:` that contradict a key of ours: refused, or they win and are listed.

Refused where other settings follow from the key, since these would not change with it: the batch
arithmetic, the layout, lengths and memory, the names on the dashboard. Elsewhere Trinity's setting
wins, and the choices say so. Which field of Trinity says the same as a key, the schema declares.
"""

from collections.abc import Iterator
from typing import Any

from rlagent.base.errors import Problem, written
from rlagent.base.origins import get
from rlagent.config.check import LAYOUT_PARTS
from rlagent.config.schema import LearnConfig
from rlagent.config.spec import Spec, spec_of
from rlagent.planner.layout import Layout


def _translated(spec: Spec, binding: bool, prefix: str = "") -> dict[str, str]:
    """Return fields of Trinity, each with the key of ours that says the same."""
    found: dict[str, str] = {}
    for name, child in spec.fields.items():
        key = f"{prefix}{name}"
        found |= _translated(child, binding, f"{key}.")
        if child.about.binding == binding:
            found |= dict.fromkeys(child.about.trinity.split(), key)
    return found


BINDING = _translated(spec_of(LearnConfig), binding=True)
"""Fields of Trinity, each with the key of ours that other settings follow from too."""

NOTED = _translated(spec_of(LearnConfig), binding=False)
"""The same, for keys that nothing else follows from."""


def overruled_problems(config: LearnConfig) -> list[Problem]:
    """Return which keys that more follows from are contradicted by a field of Trinity.

    Args:
        config: Resolved, so that it says of every key what the run would take.
    """
    return [
        Problem(
            f"trinity.{field}",
            value,
            f"contradicts {key}={written(ours)}, from which other settings follow too",
            f"set {key}={written(value)} instead",
        )
        for field, key, ours, value in _contradicted(config, BINDING)
    ]


def overruled_choices(config: LearnConfig) -> list[tuple[str, str, str]]:
    """Return which other keys are overruled: the key, what is taken, and how to choose otherwise.

    A key without a value leaves the choice to Trinity, and so contradicts nothing.
    """
    return [
        (
            key,
            f"{written(value)}, since trinity.{field} wins over {written(ours)}",
            "leave that out",
        )
        for field, key, ours, value in _contradicted(config, NOTED)
        if ours is not None
    ]


def _contradicted(
    config: LearnConfig, fields: dict[str, str]
) -> Iterator[tuple[str, str, Any, Any]]:
    """Yield field, key, the key's value and the field's where the two differ."""
    layout = Layout.parse(config.hardware.layout)
    for field, key in fields.items():
        name = key.removeprefix("hardware.")
        ours = getattr(layout, name) if name in LAYOUT_PARTS else get(config, key)
        value = _at(config.trinity, field)
        if value is not None and value != ours:
            yield field, key, ours, value


def _at(tree: Any, dotted: str) -> Any:
    for part in dotted.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree
