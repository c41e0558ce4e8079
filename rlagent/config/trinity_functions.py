"""Trinity's registries of functions, and the arguments that each takes, read without importing it.

An unknown name or argument would end a run after its start, when Trinity makes the function.
"""

import ast
import functools
from typing import Any

from rlagent.base.errors import Problem
from rlagent.base.names import did_you_mean
from rlagent.config.trinity_schema import trinity_root

_FOLDERS = {
    "policy_loss_fn": "algorithm/policy_loss_fn",
    "advantage_fn": "algorithm/advantage_fn",
    "kl_loss_fn": "algorithm/kl_fn",
    "kl_penalty_fn": "algorithm/kl_fn",
    "entropy_loss_fn": "algorithm/entropy_loss_fn",
    "sample_strategy": "algorithm/sample_strategy",
}
"""Fields of Trinity's `algorithm` that name a function, and where its registry stands."""

SELECTORS, OPERATORS = "buffer/selector", "buffer/operators"

_GIVEN = ("self", "backend", "buffer_config")
"""Arguments that Trinity itself gives."""


@functools.cache
def registry(folder: str) -> dict[str, str]:
    """Return the registry of a folder of Trinity: name to dotted path; empty without Trinity.

    Args:
        folder: Below Trinity's own, such as `algorithm/kl_fn`.
    """
    root = trinity_root()
    if root is None:
        return {}
    tree = ast.parse((root / folder / "__init__.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "default_mapping":
            return dict(ast.literal_eval(node.value))
    return {}


@functools.cache
def algorithm_defaults(algorithm_type: str) -> dict[str, Any]:
    """Return which functions an algorithm of Trinity takes where none is named."""
    path = registry("algorithm").get(algorithm_type)
    if path is None:
        return {}
    found: dict[str, Any] = {}
    for name, node in _class_of(path).items():
        if name != "default_config":
            continue
        for part in ast.walk(node):
            if isinstance(part, ast.Return) and isinstance(part.value, ast.Dict):
                for key, value in zip(part.value.keys, part.value.values, strict=True):
                    if isinstance(key, ast.Constant) and isinstance(value, ast.Constant):
                        found[str(key.value)] = value.value
    return found


@functools.cache
def arguments_of(path: str) -> tuple[str, ...] | None:
    """Return the arguments that a class of Trinity's takes; None where it takes any.

    Args:
        path: Its dotted path, as in the registry.
    """
    constructor = _class_of(path).get("__init__")
    if constructor is None:
        return None
    named = constructor.args
    names = [item.arg for item in (*named.args, *named.kwonlyargs) if item.arg not in _GIVEN]
    if named.kwarg is None:
        return tuple(names)
    rest = named.kwarg.arg
    for part in ast.walk(constructor):
        if not isinstance(part, ast.Call):
            continue
        if any(word.arg is None and _is(word.value, rest) for word in part.keywords):
            # The constructor of a base elsewhere takes them.
            return None
        if isinstance(part.func, ast.Attribute) and _is(part.func.value, rest) and part.args:
            # `kwargs.get("name", default)`: whatever else stands there is left unread.
            names.append(str(ast.literal_eval(part.args[0])))
    return tuple(names)


def _is(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def function_problems(algorithm: dict[str, Any], keys: dict[str, str]) -> list[Problem]:
    """Return which functions and arguments Trinity does not have.

    Args:
        algorithm: Trinity's group `algorithm`, as far as it is written.
        keys: For each field, the key that a person writes it by; fields without one are left out.
    """
    defaults = algorithm_defaults(algorithm.get("algorithm_type") or "ppo")
    problems = []
    for name, folder in _FOLDERS.items():
        chosen = algorithm.get(name) or defaults.get(name)
        known = registry(folder)
        if not chosen or "." in chosen or not known:
            # A class of one's own, by its dotted path, is imported where it is used.
            continue
        if chosen not in known:
            if name in keys:
                problems.append(_unknown(keys[name], chosen, f"is no {name} of Trinity", known))
            continue
        taken = arguments_of(known[chosen])
        given = algorithm.get(f"{name}_args")
        key = keys.get(f"{name}_args")
        if taken is None or not isinstance(given, dict) or key is None:
            continue
        for argument in given:
            if argument not in taken:
                what = f"{name} {chosen} takes {', '.join(taken) or 'no arguments'}"
                problems.append(
                    Problem(f"{key}.{argument}", None, what, did_you_mean(argument, list(taken)))
                )
    return problems


def name_problem(key: str, value: Any, folder: str, what: str) -> list[Problem]:
    """Return whether a name is missing in one of Trinity's registries; dotted paths are not."""
    known = registry(folder)
    if not isinstance(value, str) or not known or value in known or "." in value:
        return []
    return [_unknown(key, value, f"is no {what} of Trinity", known)]


def _unknown(key: str, value: str, message: str, known: dict[str, str]) -> Problem:
    return Problem(
        key, value, f"{message}; there are {', '.join(known)}", did_you_mean(value, list(known))
    )


@functools.cache
def _class_of(path: str) -> dict[str, ast.FunctionDef]:
    """Return the methods of a class of Trinity's, those of its bases in the same file included."""
    module, _, name = path.rpartition(".")
    root = trinity_root()
    assert root is not None
    file = root.joinpath(*module.split(".")[1:]).with_suffix(".py")
    tree = ast.parse(file.read_text(encoding="utf-8"))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    methods: dict[str, ast.FunctionDef] = {}
    pending = [name]
    while pending:
        node = classes.get(pending.pop(0))
        if node is None:
            continue
        for item in node.body:
            if isinstance(item, ast.FunctionDef):
                methods.setdefault(item.name, item)
        pending += [base.id for base in node.bases if isinstance(base, ast.Name)]
    return methods
