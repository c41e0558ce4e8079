"""What a script sets on a loaded configuration before `learn`: it counts, or is refused.

A dataclass takes any attribute, and of a native Trinity YAML only the file itself reaches Trinity:
what was set on the fields that mirror it is written back into it.
"""

import copy
import dataclasses
from typing import Any

from rlagent.base.errors import Problem
from rlagent.base.names import did_you_mean
from rlagent.base.origins import PYTHON, attributes, is_written, origins, put
from rlagent.config.compose import from_mapping, to_mapping
from rlagent.config.load import NativeConfig, native_config
from rlagent.config.overruled import BINDING, NOTED
from rlagent.config.schema import AUTO, LearnConfig
from rlagent.config.trinity_schema import check_trinity

_TASKSET = "buffer.explorer_input.taskset"

_WRITTEN_BACK: dict[str, list[str]] = {
    "hardware.gpus": ["cluster.gpu_per_node"],
    "dataset.path": [f"{_TASKSET}.path"],
    "dataset.subset": [f"{_TASKSET}.subset_name"],
    "dataset.split": [f"{_TASKSET}.split"],
    # Trinity's own scheduler takes these of the taskset before those of the model.
    "model.temperature": [f"{_TASKSET}.rollout_args.temperature"],
    "model.top_p": [f"{_TASKSET}.rollout_args.top_p"],
    "model.top_k": [f"{_TASKSET}.rollout_args.top_k"],
}
"""Keys of ours with the fields of a native YAML that say the same, beside the schema's own."""

_EFFECTIVE = (
    # Of the CPU trainer; the engines' is written back, too.
    "seed",
    "workflow.",
    "monitor.",
    "run.",
    "sweep.",
    "model.name",
    "model.tool_choice",
    "dataset.name",
    "hardware.engine",
    "hardware.name",
    "hardware.ray",
    "hardware.gpu",
    "hardware.attention",
    "hardware.runners",
    "hardware.threads",
)
"""Keys that a run of a native YAML takes from us."""


def with_python_changes(config: LearnConfig) -> tuple[LearnConfig, list[Problem]]:
    """Return a copy in which everything that was set counts, and what cannot count.

    Args:
        config: As a script has it; a native one still holds what its file says.
    """
    problems = _stray(config) + _not_plain(to_mapping(config))
    if not isinstance(config, NativeConfig):
        return (config if problems else _with_changes_in_place(config)), problems
    problems = problems or from_mapping(to_mapping(config))[1]
    if problems:
        return config, problems
    mirror, native = _leaves(native_config(config.native)), copy.deepcopy(config.native)
    set_again = {key for key, where in origins(config).items() if where == PYTHON}
    changed = {
        key: value
        for key, value in _leaves(config).items()
        # Trinity's default may be another than ours, which is what the mirror holds then.
        if value != mirror[key]
        or (key in set_again and _fields_of(key) and value not in (AUTO, None))
    }
    changed.pop("trinity", None)
    own = {key: value for key, value in changed.items() if key.startswith(_EFFECTIVE)}
    for key in [key for key in changed if key not in own or key == "seed"]:
        problems += _write_back(native, config.trinity, key, changed[key])
    native = _merged(native, config.trinity)
    problems += check_trinity(native, prefix="")
    result = native_config(native, config.source)
    for key, value in own.items():
        section, _, name = key.rpartition(".")
        setattr(getattr(result, section) if section else result, name, copy.deepcopy(value))
    # It stands in the native settings now.
    result.trinity = {}
    return result, problems


def _write_back(
    native: dict[str, Any], trinity: dict[str, Any], key: str, value: Any
) -> list[Problem]:
    """Set the fields of Trinity that mean a key of ours; return why that cannot be."""
    fields = _fields_of(key)
    if not fields:
        remedy = "set the field of Trinity in the file, or config.trinity in the script"
        return [Problem(key, value, "changes nothing of a native Trinity configuration", remedy)]
    paths = [_path(native, item) for item in fields]
    # Where the file says it in one place of several, there it counts.
    said = [path for path in paths if _at(native, path) is not None] or paths[:1]
    for path in said:
        other = _at(trinity, path)
        if other not in (None, value):
            name = "trinity." + ".".join(path)
            return [Problem(key, value, f"contradicts {name}={other}", "set one of the two")]
        _put(native, path, value)
    return []


def _fields_of(key: str) -> list[str]:
    """The fields of Trinity that mean a key of ours."""
    fields = [theirs for theirs, ours in {**BINDING, **NOTED}.items() if ours == key]
    return fields + _WRITTEN_BACK.get(key, [])


def _with_changes_in_place(config: LearnConfig) -> LearnConfig:
    """A copy that notes as written what was changed within lists and mappings."""
    changed, plain = copy.deepcopy(config), _leaves(LearnConfig())
    for key, value in _leaves(changed).items():
        if isinstance(value, (list, dict)) and value != plain[key] and not is_written(changed, key):
            put(changed, key, value, PYTHON)
    return changed


def _path(native: dict[str, Any], dotted: str) -> list[str]:
    """The path of a field; a list of tasksets has its first one mirrored."""
    several = _at(native, ["buffer", "explorer_input", "tasksets"])
    if dotted.startswith(_TASKSET) and several:
        return ["buffer", "explorer_input", "tasksets", "0", *dotted.split(".")[3:]]
    return dotted.split(".")


def _at(tree: Any, path: list[str]) -> Any:
    for part in path:
        if isinstance(tree, list):
            tree = tree[int(part)] if int(part) < len(tree) else None
        else:
            tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def _put(tree: Any, path: list[str], value: Any) -> None:
    for part in path[:-1]:
        if isinstance(tree, list):
            tree = tree[int(part)]
        else:
            if tree.get(part) is None:
                tree[part] = {}
            tree = tree[part]
    tree[path[-1]] = value


def _merged(tree: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(tree)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            value = _merged(old, value)
        merged[key] = value
    return merged


def _leaves(section: Any, prefix: str = "") -> dict[str, Any]:
    """Every field by its dotted key; lists and mappings are values."""
    found = {}
    for item in dataclasses.fields(LearnConfig if not prefix else section):
        value = getattr(section, item.name)
        key = f"{prefix}{item.name}"
        if dataclasses.is_dataclass(value):
            found.update(_leaves(value, f"{key}."))
        else:
            found[key] = value
    return found


def _stray(section: Any, prefix: str = "") -> list[Problem]:
    """Attributes that are no fields: a slip of the pen, which nothing would ever read."""
    problems = []
    names = [item.name for item in dataclasses.fields(section)]
    for name, value in attributes(section).items():
        if name not in names:
            hint = did_you_mean(f"{prefix}{name}", [f"{prefix}{known}" for known in names])
            problems.append(Problem(f"{prefix}{name}", value, "there is no such key", hint))
        elif dataclasses.is_dataclass(value):
            problems += _stray(value, f"{prefix}{name}.")
    return problems


def _not_plain(value: Any, key: str = "") -> list[Problem]:
    """Values that no file can hold, and that would make another trial in every process."""
    if isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return [
            problem
            for name, item in items
            for problem in _not_plain(item, f"{key}.{name}" if key else str(name))
        ]
    if value is None or isinstance(value, (bool, int, float, str)):
        return []
    kind = type(value).__name__
    remedy = "pass other objects with the function: functools.partial, attributes, closures"
    return [Problem(key, None, f"a {kind} is no text, number, list or mapping", remedy)]
