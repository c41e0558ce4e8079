"""Which settings were written, and where: each group of the configuration notes it of its fields.

What was written is never replaced; a field without a note holds the schema's default, which
resolving may fill. Plain data beside the fields: no part of a trial's identity.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

COMMAND_LINE = "command line"
PYTHON = "Python"
DEFAULT = "default"
"""Where a value comes from that nobody wrote and nothing filled."""

FILLED = "auto: "
"""What begins the origin of a value that resolving filled in; the reason follows."""

AUTO = "auto"
"""The word that asks rlagent to choose."""

_NOTES = "_origins"


class Recorded:
    """A group of settings that notes which of its fields were set, and where."""

    # Type checkers see a plain dataclass, so that they find unknown attributes.
    if not TYPE_CHECKING:

        def __new__(cls, *args: Any, **given: Any) -> "Recorded":
            made = super().__new__(cls)
            names = [item.name for item in dataclasses.fields(cls)][: len(args)]
            vars(made)["_given"] = [*names, *given]
            return made

        def __post_init__(self) -> None:
            given = vars(self).pop("_given")
            groups = [name for name in given if isinstance(getattr(self, name), Recorded)]
            vars(self)[_NOTES] = {name: PYTHON for name in given if name not in groups}

        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            notes = vars(self).get(_NOTES)
            if notes is not None and not isinstance(value, Recorded):
                _note(notes, name, PYTHON)


def attributes(section: Recorded) -> dict[str, Any]:
    """Return what a group holds, also what is no field of it."""
    return {name: value for name, value in vars(section).items() if name != _NOTES}


def origins(section: Recorded, prefix: str = "") -> dict[str, str]:
    """Return where each value was set, by dotted key; keys without an entry have their default."""
    found = {f"{prefix}{name}": where for name, where in vars(section)[_NOTES].items()}
    for name, value in vars(section).items():
        if isinstance(value, Recorded):
            found.update(origins(value, f"{prefix}{name}."))
    return found


def record(section: Recorded, found: Mapping[str, str]) -> None:
    """Replace all notes of a configuration by these.

    Args:
        section: The configuration.
        found: Where each value was set, by dotted key.
    """
    for group in _groups(section):
        vars(group)[_NOTES] = {}
    for key, where in found.items():
        group, name = _locate(section, key)
        _note(vars(group)[_NOTES], name, where)


def get(section: Recorded, key: str) -> Any:
    """Return the value at a dotted key of groups and fields."""
    group, name = _locate(section, key)
    return getattr(group, name)


def put(section: Recorded, key: str, value: Any, where: str | None) -> None:
    """Set the value at a dotted key, with its origin; None: as if nobody had written it."""
    group, name = _locate(section, key)
    setattr(group, name, value)
    notes = vars(group)[_NOTES]
    if where is None:
        notes.pop(name, None)
    else:
        notes[name] = where


def is_written(section: Recorded, key: str) -> bool:
    """Whether a value was set at a dotted key, or within it; `auto` leaves it to resolving."""
    group, name = _locate(section, key)
    notes = vars(group)[_NOTES]
    noted = name in notes or any(other.startswith(f"{name}.") for other in notes)
    return noted and getattr(group, name) != AUTO


def origin_of(found: Mapping[str, str], key: str) -> str:
    """Return where a value comes from; only a part of it may be noted, or what it is a part of.

    Args:
        found: As `origins` returns them.
        key: Dotted.

    >>> origin_of({"workflow.args": "Python"}, "workflow.args.hint"), origin_of({}, "seed")
    ('Python', 'default')
    """
    parts = key.split(".")
    for count in range(len(parts), 0, -1):
        if where := found.get(".".join(parts[:count])):
            return where
    within = [where for other, where in found.items() if other.startswith(f"{key}.")]
    return ", ".join(dict.fromkeys(within)) or DEFAULT


def leaves(data: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the value of each leaf of nested mappings.

    >>> list(leaves({"seed": 1, "model": {"path": "tiny"}, "trinity": {}}))
    [('seed', 1), ('model.path', 'tiny'), ('trinity', {})]
    """
    for name, value in data.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{key}.")
        else:
            yield key, value


def fields(section: Recorded, prefix: str = "") -> Iterator[str]:
    """Yield the dotted key of each field of a group and of the groups in it."""
    for item in dataclasses.fields(section):  # type: ignore[arg-type]
        value = getattr(section, item.name)
        if isinstance(value, Recorded):
            yield from fields(value, f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}"


def _note(notes: dict[str, str], name: str, where: str) -> None:
    # The whole was set: what was noted of its parts is over.
    for other in [other for other in notes if other.startswith(f"{name}.")]:
        del notes[other]
    notes[name] = where


def _groups(section: Recorded) -> Iterator[Recorded]:
    yield section
    for value in vars(section).values():
        if isinstance(value, Recorded):
            yield from _groups(value)


def _locate(section: Recorded, key: str) -> tuple[Recorded, str]:
    """Return the group that a dotted key lies in, and what is left of the key there."""
    head, dot, rest = key.partition(".")
    child = vars(section).get(head) if dot else None
    return _locate(child, rest) if isinstance(child, Recorded) else (section, key)
