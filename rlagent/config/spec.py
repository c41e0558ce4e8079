"""A neutral description of typed settings, and the strict check of plain data against it.

Used for our own dataclasses and for Trinity's, which are read without importing them. Finds
every unknown key and wrong type at once, each with the nearest name; ranges and contradictions
are check.py's.
"""

import dataclasses
import functools
import math
import re
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, Union

from rlagent.base.errors import Problem
from rlagent.base.limits import ABOUT, LIMITS, NO_MORE, About, Limits
from rlagent.base.names import did_you_mean

T = TypeVar("T")

NOT_SAID = object()
"""The default of a setting whose declaration was not read."""


@dataclass(frozen=True)
class Spec:
    """What a value may be.

    Args:
        kind: scalar, list, dict, struct or any.
        types: For a scalar, the names of its types, of int, float, bool and str.
        choices: For a scalar, the allowed words; empty allows every one.
        optional: Whether null is allowed.
        item: Of a list its elements, of a dict its values.
        fields: Of a struct, its keys.
        limits: Of a scalar of ours, its bounds or words; checked by check.py.
        about: Of a field of ours, what `auto` becomes and which fields of Trinity say the same.
        default: What is taken where it is not written; NOT_SAID where it was not read.
    """

    kind: str
    types: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    optional: bool = False
    item: "Spec | None" = None
    fields: "dict[str, Spec]" = field(default_factory=dict)
    limits: Limits | None = None
    about: About = NO_MORE
    default: Any = NOT_SAID


ANY = Spec("any", optional=True)
UNKNOWN = "there is no such key"
_SCALARS = {int: "int", float: "float", bool: "bool", str: "str"}
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
}


# Python evaluates them at each call, and a sweep has hundreds of rows of one class.
_hints: Callable[[Any], dict[str, Any]] = functools.cache(typing.get_type_hints)


def spec_of(annotation: Any) -> Spec:
    """Return the Spec of a type annotation; a dataclass becomes a struct of its fields."""
    if dataclasses.is_dataclass(annotation):
        hints = _hints(annotation)
        fields = {
            item.name: dataclasses.replace(
                spec_of(hints[item.name]),
                limits=item.metadata.get(LIMITS),
                about=item.metadata.get(ABOUT, NO_MORE),
            )
            for item in dataclasses.fields(annotation)
        }
        return Spec("struct", fields=fields)
    if annotation in _SCALARS:
        return Spec("scalar", types=(_SCALARS[annotation],))
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Union:
        members = [arg for arg in args if arg is not type(None)]
        optional = len(members) < len(args)
        if len(members) == 1:
            return dataclasses.replace(spec_of(members[0]), optional=optional)
        return Spec("scalar", types=tuple(_SCALARS[arg] for arg in members), optional=optional)
    if origin is list:
        return Spec("list", item=spec_of(args[0]))
    if origin is dict:
        return Spec("dict", item=spec_of(args[1]))
    return ANY


def build(cls: Callable[..., T], data: dict[str, Any]) -> T:
    """Return a dataclass made of validated data; what is absent takes its default."""
    hints = _hints(cls)
    values = {}
    for name, value in data.items():
        hint = hints[name]
        args = typing.get_args(hint)
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            value = build(hint, value)
        elif isinstance(value, list) and args and dataclasses.is_dataclass(args[0]):
            item_type = typing.cast(type, args[0])
            value = [build(item_type, item) for item in value]
        values[name] = value
    return cls(**values)


def keys_of(spec: Spec, prefix: str = "") -> list[str]:
    """Return every dotted key of a struct, groups themselves included."""
    found = []
    for name, child in spec.fields.items():
        key = f"{prefix}{name}"
        found.append(key)
        found.extend(keys_of(child, f"{key}."))
    return found


def find(spec: Spec, key: str) -> Spec | None:
    """Return the Spec at a dotted key, None when there is none; inside dicts all keys exist."""
    node: Spec | None = spec
    for part in key.split("."):
        if node is None:
            return None
        if node.kind == "struct":
            node = node.fields.get(part)
        elif node.kind == "dict":
            node = node.item
        elif node.kind != "any":
            return None
    return node


def validate(value: Any, spec: Spec, prefix: str = "") -> tuple[Any, list[Problem]]:
    """Check plain data (dicts, lists, scalars) strictly against a Spec.

    Args:
        value: What was given, such as a parsed YAML file.
        spec: What it may be.
        prefix: Put before each key in problems, such as `trinity.`.

    Returns:
        The data without what is wrong in it, and one Problem per mistake.
    """
    return _Validation(spec, prefix).run(value)


class _Validation:
    def __init__(self, spec: Spec, prefix: str) -> None:
        self.spec = spec
        self.prefix = prefix
        self.problems: list[Problem] = []
        self._keys: list[str] | None = None

    def run(self, value: Any) -> tuple[Any, list[Problem]]:
        cleaned = self._visit(value, self.spec, "")
        return (None if cleaned is _BAD else cleaned), self.problems

    def _bad(self, key: str, value: Any, message: str, remedy: str = "") -> Any:
        self.problems.append(Problem(f"{self.prefix}{key}", value, message, remedy))
        return _BAD

    def _unknown(self, key: str, value: Any) -> None:
        if self._keys is None:
            self._keys = [f"{self.prefix}{name}" for name in keys_of(self.spec)]
        full = f"{self.prefix}{key}"
        shown = None if isinstance(value, (dict, list)) else value
        self._bad(key, shown, UNKNOWN, did_you_mean(full, self._keys))

    def _visit(self, value: Any, spec: Spec, key: str) -> Any:
        if value is None:
            if spec.optional:
                return None
            return self._bad(key, "null", f"must be {allowed(spec)}")
        if spec.kind == "any":
            return value
        if spec.kind == "struct":
            return self._struct(value, spec, key)
        if spec.kind == "dict":
            if not isinstance(value, dict):
                return self._bad(key, value, "must be a mapping", f"write {key}={{name: value}}")
            items = {k: self._visit(v, spec.item or ANY, f"{key}.{k}") for k, v in value.items()}
            return {k: v for k, v in items.items() if v is not _BAD}
        if spec.kind == "list":
            if not isinstance(value, list):
                return self._bad(key, value, "must be a list", f"write {key}=[{value}]")
            rows = [self._visit(v, spec.item or ANY, f"{key}.{i}") for i, v in enumerate(value)]
            return [row for row in rows if row is not _BAD]
        return self._scalar(value, spec, key)

    def _struct(self, value: Any, spec: Spec, key: str) -> Any:
        if not isinstance(value, dict):
            return self._bad(
                key, value, "is a group of settings, not one", f"set one of {_some(spec, key)}"
            )
        cleaned = {}
        for name, child in value.items():
            path = f"{key}.{name}" if key else str(name)
            if name not in spec.fields:
                self._unknown(path, child)
                continue
            result = self._visit(child, spec.fields[name], path)
            if result is not _BAD:
                cleaned[name] = result
        return cleaned

    def _scalar(self, value: Any, spec: Spec, key: str) -> Any:
        for name in spec.types:
            converted = _convert(value, name)
            if converted is None:
                continue
            if spec.choices and converted.lower() not in spec.choices:
                continue
            return converted
        shown = value if not isinstance(value, (dict, list)) else str(value)
        remedy = did_you_mean(str(value), spec.choices) if spec.choices else ""
        return self._bad(key, shown, f"must be {allowed(spec)}", remedy)


_BAD = object()
_DIGITS = 400
"""Digits of a whole number; Python itself turns no more than 4300 of them into text."""
_WHOLE_NUMBER = re.compile(rf"[+-]?[0-9]{{1,{_DIGITS}}}")


def _convert(value: Any, name: str) -> Any:
    """Return `value` as the named type, None when it is not of it."""
    if name == "bool":
        return value if isinstance(value, bool) else None
    if isinstance(value, bool):
        return None
    if name == "int":
        if isinstance(value, str):
            return int(value) if _WHOLE_NUMBER.fullmatch(value.strip()) else None
        return value if isinstance(value, int) else None
    if name == "float":
        try:
            number = float(value) if isinstance(value, (int, float, str)) else math.nan
        except (ValueError, OverflowError):
            return None
        return number if math.isfinite(number) else None
    if isinstance(value, (dict, list)) or (isinstance(value, int) and abs(value) >= 10**_DIGITS):
        return None
    return str(value)


def allowed(spec: Spec) -> str:
    """Return in words what a value may be, its range left out."""
    if spec.choices:
        words = "one of " + ", ".join(spec.choices)
    elif spec.kind == "scalar":
        # `str` beside a number is there for the word auto.
        named = [name for name in spec.types if name != "str" or len(spec.types) == 1]
        words = " or ".join(_WORDS[name] for name in named)
        if len(named) < len(spec.types):
            words += " or auto"
    else:
        words = {"list": "a list", "dict": "a mapping", "struct": "a group"}.get(spec.kind, "set")
    return words + (" or null" if spec.optional else "")


def _some(spec: Spec, key: str, most: int = 4) -> str:
    names = [f"{key}.{name}" for name in spec.fields]
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
