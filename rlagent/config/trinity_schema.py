"""Trinity's own configuration schema, read from its source without importing Trinity.

Importing trinity.common.config takes seconds and pulls in Ray; parsing it takes milliseconds.
Only names, types and defaults are known here; what becomes of each setting is trinity_table.py's,
what values mean together is for Trinity's validators.
"""

import ast
import dataclasses
import functools
import importlib.util
from pathlib import Path
from typing import Any

from rlagent.base.errors import Problem
from rlagent.config.spec import ANY, NOT_SAID, Spec, validate

_SCALARS = {"int", "float", "bool", "str"}


def trinity_root() -> Path | None:
    """Return the folder of the installed Trinity, None when it is not installed."""
    # find_spec of a top-level name does not execute the package.
    found = importlib.util.find_spec("trinity")
    if found is None or not found.submodule_search_locations:
        return None
    return Path(next(iter(found.submodule_search_locations)))


@functools.cache
def trinity_spec() -> Spec | None:
    """Return the Spec of Trinity's Config, None when Trinity is not installed."""
    root = trinity_root()
    if root is None:
        return None
    config = ast.parse((root / "common" / "config.py").read_text(encoding="utf-8"))
    constants = ast.parse((root / "common" / "constants.py").read_text(encoding="utf-8"))
    reader = _Reader(_classes(config), _enums(constants), _texts(constants))
    return reader.struct("Config")


def check_trinity(overrides: dict, prefix: str = "trinity.") -> list[Problem]:
    """Check settings for Trinity: unknown keys with the nearest name, wrong types and words.

    Args:
        overrides: Nested settings as in a native Trinity YAML.
        prefix: What stands before each key in the messages.
    """
    if not overrides:
        return []
    spec = trinity_spec()
    if spec is None:
        return [
            Problem(
                prefix.rstrip("."),
                None,
                "Trinity is not installed, so its settings cannot be checked",
                "run `rlagent doctor`",
            )
        ]
    return validate(overrides, spec, prefix)[1]


@functools.cache
def algorithm_types() -> tuple[str, ...]:
    """Return the names of Trinity's algorithm registry, empty when Trinity is not installed."""
    root = trinity_root()
    if root is None:
        return ()
    tree = ast.parse((root / "algorithm" / "__init__.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "default_mapping":
            assert isinstance(node.value, ast.Dict)
            names = [key.value for key in node.value.keys if isinstance(key, ast.Constant)]
            return tuple(str(name) for name in names)
    return ()


def _classes(tree: ast.Module) -> dict[str, ast.ClassDef]:
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _enums(tree: ast.Module) -> dict[str, tuple[str, ...]]:
    """Return the words of each enum; aliases stand in `{Enum}Meta.name_aliases`."""
    words: dict[str, tuple[str, ...]] = {}
    aliases: dict[str, tuple[str, ...]] = {}
    for name, node in _classes(tree).items():
        values = []
        for statement in node.body:
            if not isinstance(statement, ast.Assign):
                continue
            value = statement.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                values.append(value.value)
            elif isinstance(value, ast.Dict):
                keys = [key.value for key in value.keys if isinstance(key, ast.Constant)]
                aliases[name] = tuple(str(key) for key in keys)
        if values:
            words[name] = tuple(values)
    return {name: values + aliases.get(f"{name}EnumMeta", ()) for name, values in words.items()}


def _texts(tree: ast.Module) -> dict[str, str]:
    """Return the constants of a module that are texts."""
    return {
        target.id: statement.value.value
        for statement in tree.body
        if isinstance(statement, ast.Assign)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }


class _Reader:
    """Turns the annotations and defaults of parsed dataclasses into Specs."""

    def __init__(
        self,
        classes: dict[str, ast.ClassDef],
        enums: dict[str, tuple[str, ...]],
        texts: dict[str, str],
    ) -> None:
        self.classes = classes
        self.enums = enums
        self.texts = texts

    @functools.cache  # noqa: B019 - lives as long as the cached spec
    def struct(self, name: str) -> Spec:
        fields = {}
        for statement in self.classes[name].body:
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                spec = self.annotation(statement.annotation)
                default = self.default(statement.value)
                fields[statement.target.id] = dataclasses.replace(spec, default=default)
        return Spec("struct", fields=fields)

    def default(self, node: ast.expr | None) -> Any:
        """Return a default as plain data; NOT_SAID for none, and for that of a group."""
        if isinstance(node, ast.Name):
            return self.texts.get(node.id, NOT_SAID)
        if isinstance(node, ast.Attribute):
            # StorageType.FILE.value, SyncMethod.NCCL: their words are the names in lower case.
            member = node.value if node.attr == "value" else node
            return member.attr.lower() if isinstance(member, ast.Attribute) else NOT_SAID
        if isinstance(node, ast.Call):
            factory = next((word.value for word in node.keywords), None)
            if isinstance(factory, ast.Lambda):
                return ast.literal_eval(factory.body)
            name = factory.id if isinstance(factory, ast.Name) else ""
            return {"list": [], "dict": {}}.get(name, NOT_SAID)
        return NOT_SAID if node is None else ast.literal_eval(node)

    def annotation(self, node: ast.expr, optional: bool = False) -> Spec:
        if isinstance(node, ast.Name):
            return self._named(node.id, optional)
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            outer, inner = node.value.id, node.slice
            if outer == "Optional":
                return self.annotation(inner, optional=True)
            if outer in ("List", "list"):
                return Spec("list", item=self.annotation(inner), optional=optional)
            if outer in ("Dict", "dict") and isinstance(inner, ast.Tuple):
                return Spec("dict", item=self.annotation(inner.elts[1]), optional=optional)
        return ANY

    def _named(self, name: str, optional: bool) -> Spec:
        if name in _SCALARS:
            return Spec("scalar", types=(name,), optional=optional)
        if name in self.enums:
            return Spec("scalar", types=("str",), choices=self.enums[name], optional=optional)
        if name in ("dict", "Dict"):
            return Spec("dict", item=ANY, optional=optional)
        if name in self.classes:
            struct = self.struct(name)
            return Spec("struct", fields=struct.fields, optional=optional)
        return ANY
