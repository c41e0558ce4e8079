"""What becomes of a setting of Trinity: obeyed, set aside on a CPU, or refused, and why.

The settings themselves are listed in trinity_table.py; this module says what a line of that table
means and looks a configuration up in it.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rlagent.base.errors import Problem
from rlagent.config.spec import Spec

ASIDE = "set aside"
"""In place of a reason: the CPU engine or trainer has no use for the setting, and the result is the
same without it."""


@dataclass(frozen=True)
class Fate:
    """What becomes of one setting, or of all settings of a group.

    Args:
        by: Who obeys it; empty when nobody does, so that it is refused.
        why: Why it is refused.
        remedy: What to do instead.
        accepted: Values that change nothing, since they say what happens anyway; None: Trinity's
            own default alone.
        choices: Of a setting that is obeyed, the values that are; empty: all. `why` and `remedy`
            are for the others.
        cpu: What becomes of it on a CPU where that differs: ASIDE, or why it is refused there.
        ours: The key of rlagent that says the same, and has to be set in place of `trinity.*`.
        whole: Whether it has no effect while the trainer reads whole steps
            (algorithm.train_batch_size=auto).
        cpu_keys: Of a mapping, the keys that are obeyed on a CPU too.
        gpu_values: The values that are for GPUs alone; empty: all, where `cpu` says so.
    """

    by: str = ""
    why: str = ""
    remedy: str = ""
    accepted: tuple[Any, ...] | None = None
    choices: tuple[Any, ...] = ()
    cpu: str = ""
    ours: str = ""
    whole: bool = False
    cpu_keys: tuple[str, ...] = ()
    gpu_values: tuple[str, ...] = ()


def obeyed(by: str, ours: str = "", whole: bool = False) -> Fate:
    """Obeyed on every machine."""
    return Fate(by, ours=ours, whole=whole)


def on_gpus(by: str, cpu: str = ASIDE, cpu_keys: tuple[str, ...] = ()) -> Fate:
    """Obeyed with GPUs; on a CPU set aside, or refused for the reason in `cpu`."""
    return Fate(by, cpu=cpu, cpu_keys=cpu_keys)


def refused(why: str, remedy: str = "leave it out", *accepted: Any) -> Fate:
    """Refused with another value than Trinity's default; `accepted` replaces that default."""
    return Fate("", why, remedy, accepted or None)


def one_of(
    by: str, choices: tuple[str, ...], why: str, remedy: str = "", ours: str = "", cpu: str = ""
) -> Fate:
    """Obeyed where it is one of `choices`, refused with another value."""
    remedy = remedy or f"write {' or '.join(choices)}"
    return Fate(by, why, remedy, choices=choices, ours=ours, cpu=cpu)


@dataclass(frozen=True)
class Written:
    """A setting as it stands in a configuration.

    Args:
        key: Its key in the table: `[]` stands for any place in a list, `{}` for any name.
        shown: Its key as a person would write it.
        value: What was written.
        default: Trinity's own.
    """

    key: str
    shown: str
    value: Any
    default: Any


def settings_of(tree: Any, spec: Spec, key: str = "", shown: str = "") -> Iterator[Written]:
    """Yield every single setting of a nested configuration; what does not fit `spec` is left out.

    >>> struct = Spec("struct", fields={"a": Spec("scalar", ("int",), default=1)})
    >>> [(item.key, item.value) for item in settings_of({"a": 2}, struct)]
    [('a', 2)]
    """
    if spec.kind == "struct" and isinstance(tree, dict):
        for name, child in spec.fields.items():
            if name in tree:
                yield from settings_of(tree[name], child, _join(key, name), _join(shown, name))
    elif _holds(spec, "list") and isinstance(tree, list):
        assert spec.item is not None
        for index, item in enumerate(tree):
            yield from settings_of(item, spec.item, f"{key}[]", f"{shown}.{index}")
    elif _holds(spec, "dict") and isinstance(tree, dict):
        assert spec.item is not None
        for name, item in tree.items():
            yield from settings_of(item, spec.item, f"{key}{{}}", f"{shown}.{name}")
    elif spec.kind != "struct" and not _holds(spec, spec.kind):
        yield Written(key, shown, tree, spec.default)


def keys_of_settings(spec: Spec, key: str = "") -> Iterator[str]:
    """Yield the key of every single setting that a configuration of this Spec can have."""
    if spec.kind == "struct":
        for name, child in spec.fields.items():
            yield from keys_of_settings(child, _join(key, name))
    elif _holds(spec, spec.kind):
        assert spec.item is not None
        yield from keys_of_settings(spec.item, key + ("[]" if spec.kind == "list" else "{}"))
    else:
        yield key


@functools.cache
def line_of(key: str, table_keys: frozenset[str]) -> str | None:
    """Return the table's most specific line for a setting: its own, or that of a group around it.

    >>> line_of("model.tinker.rank", frozenset({"model.tinker", "model.top_p"}))
    'model.tinker'
    """
    while key:
        if key in table_keys:
            return key
        key = key[:-2] if key.endswith(("[]", "{}")) else key.rpartition(".")[0]
    return None


def look_up(
    tree: dict[str, Any],
    spec: Spec,
    table: dict[str, Fate],
    prefix: str,
    on_cpu: bool | None,
    whole: bool = False,
) -> tuple[list[Problem], list[str]]:
    """Return what of a configuration is refused, and the keys that are set aside.

    Args:
        tree: Settings for Trinity.
        spec: Trinity's schema.
        table: What becomes of each setting.
        prefix: `trinity.` for overrides, which have keys of rlagent to be set in their place and
            are typed for the machine at hand; empty for a native YAML.
        on_cpu: Whether the run is on a CPU; None while that is not known.
        whole: Whether the trainer reads whole steps.
    """
    problems: dict[str, Problem] = {}
    aside: list[str] = []
    lines = frozenset(table)
    for item in settings_of(tree, spec):
        line = line_of(item.key, lines)
        assert line is not None, f"{item.key} is missing in the table"
        problem = _judged(item, table[line], prefix, on_cpu, whole)
        if problem is ASIDE:
            aside.append(item.shown)
        elif isinstance(problem, Problem):
            key, value = item.shown, problem.value
            if line != item.key:
                # One line for a whole group.
                key, value = _shown_group(item, line), None
            problems.setdefault(
                key, Problem(f"{prefix}{key}", value, problem.message, problem.remedy)
            )
    return list(problems.values()), aside


def _judged(
    item: Written, fate: Fate, prefix: str, on_cpu: bool | None, whole: bool
) -> Problem | str | None:
    if prefix and fate.by and fate.ours:
        # Also for Trinity's default: what rlagent sets in its place follows from the key of ours.
        return Problem(
            item.shown, item.value, f"is what {fate.ours} says", f"set {fate.ours} instead"
        )
    accepted = (item.default,) if fate.accepted is None else fate.accepted
    if not fate.gpu_values and any(_same(item.value, value) for value in accepted):
        return None
    known = not fate.choices or any(_same(item.value, value) for value in fate.choices)
    if not fate.by or not known:
        return Problem(item.shown, item.value, fate.why, fate.remedy)
    if prefix and whole and fate.whole:
        return Problem(
            item.shown,
            item.value,
            "has no effect while the trainer reads whole steps (algorithm.train_batch_size=auto)",
            "set algorithm.train_batch_size, or leave it out",
        )
    if not on_cpu or not fate.cpu:
        return None
    if fate.gpu_values and not any(_same(item.value, value) for value in fate.gpu_values):
        return None
    if fate.cpu_keys and isinstance(item.value, dict) and not set(item.value) - {*fate.cpu_keys}:
        return None
    if fate.cpu != ASIDE:
        return Problem(item.shown, item.value, fate.cpu, "leave it out, or train on GPUs")
    if prefix:
        keys = f" but for {', '.join(fate.cpu_keys)}" if fate.cpu_keys else ""
        what = f"means nothing on a CPU{keys}: it is for {fate.by}"
        return Problem(item.shown, item.value, what, "leave it out")
    return ASIDE


def _shown_group(item: Written, line: str) -> str:
    """Return a group as written, of which `line` is the key in the table."""
    depth = len([part for part in line.replace("[]", ".0").replace("{}", ".0").split(".") if part])
    return ".".join(item.shown.split(".")[:depth])


def _same(value: Any, other: Any) -> bool:
    if isinstance(value, str) and isinstance(other, str):
        return value.lower() == other.lower()
    # 1 and True are different settings.
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _holds(spec: Spec, kind: str) -> bool:
    """Whether a Spec is a list or dict (as asked) of structs."""
    return (
        spec.kind == kind
        and kind in ("list", "dict")
        and spec.item is not None
        and spec.item.kind == "struct"
    )


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name
