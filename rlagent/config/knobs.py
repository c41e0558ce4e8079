"""Every key of the schema with what its declaration says: meaning, default, range, `auto`.

The meaning is the comment above a field, and its section (core, advanced) the heading before it:
both are read from the schema's source, so that nothing is written twice.
"""

import dataclasses
import functools
import inspect
import re
import sys
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from rlagent.base.errors import written
from rlagent.config.schema import AUTO, LearnConfig
from rlagent.config.spec import Spec, allowed, spec_of

_HEADING = "----"


@dataclass(frozen=True)
class Knob:
    """One key that can be set.

    Args:
        key: Dotted; `[]` stands for any place in a list.
        meaning: One or more sentences; empty for a group, which has a docstring.
        default: As one writes it on the command line.
        allowed: Type and range in words.
        auto: What `auto` becomes, in words.
        trinity: Fields of Trinity that say the same.
        binding: Whether `trinity.*` must not contradict it, as more follows from it.
        advanced: Whether it stands below the core fields of its group.
    """

    key: str
    meaning: str
    default: str
    allowed: str
    auto: str
    trinity: tuple[str, ...]
    binding: bool
    advanced: bool

    @property
    def group(self) -> str:
        """Return the keys before the last, "" at the top."""
        return self.key.rpartition(".")[0]


def knobs(cls: type = LearnConfig, prefix: str = "") -> Iterator[Knob]:
    """Yield every key below a dataclass, in the order of its declaration."""
    hints, comments, spec = typing.get_type_hints(cls), _comments(cls), spec_of(cls)
    for item in dataclasses.fields(cls):
        key, hint = f"{prefix}{item.name}", hints[item.name]
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            yield from knobs(hint, f"{key}.")
            continue
        meaning, advanced = comments[item.name]
        takes, about = _allowed(spec.fields[item.name]), spec.fields[item.name].about
        fields = tuple(about.trinity.split())
        yield Knob(key, meaning, _default(item), takes, about.auto, fields, about.binding, advanced)
        for part in typing.get_args(hint):
            if isinstance(part, type) and dataclasses.is_dataclass(part):
                yield from knobs(part, f"{key}[].")


def groups(cls: type = LearnConfig, prefix: str = "") -> dict[str, str]:
    """Return every group, "" for the top, with the docstring of its dataclass."""
    found = {prefix: inspect.getdoc(cls) or ""}
    for name, hint in typing.get_type_hints(cls).items():
        key = f"{prefix}.{name}".lstrip(".")
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            found |= groups(hint, key)
        for part in typing.get_args(hint):
            if isinstance(part, type) and dataclasses.is_dataclass(part):
                found |= groups(part, f"{key}[]")
    return found


def explained(text: str) -> str:
    """Return a configuration's YAML with the first sentence of each core key's meaning beside it.

    Args:
        text: As OmegaConf writes it, two spaces a level.
    """
    meanings = {
        knob.key: knob.meaning.split(". ")[0].split("; ")[0].rstrip(".:")
        for knob in knobs()
        if not knob.advanced and not knob.key.startswith(("model.recipe", "model.shape"))
    }
    lines, path = [], list[str]()
    for line in text.splitlines():
        if found := re.match(r"( *)(\w+):", line):
            path = [*path[: len(found[1]) // 2], found[2]]
            if meaning := meanings.get(".".join(path)):
                line = f"{line:<38}  # {meaning}"
        lines.append(line)
    return "\n".join(lines) + "\n"


def _comments(cls: type) -> dict[str, tuple[str, bool]]:
    """Return the comment above each field of a dataclass, and whether it is an advanced one."""
    found: dict[str, tuple[str, bool]] = {}
    advanced, above = False, list[str]()
    for line in _sources(sys.modules[cls.__module__])[cls.__name__]:
        if declared := re.match(r"    (\w+): ", line):
            found[declared[1]] = (" ".join(above), advanced)
            above = []
        elif not line.startswith("    #"):
            # A blank line parts neither a comment from its field nor two lines of a comment.
            above = above if not line.strip() else []
        elif (text := line.strip("# ")).startswith(_HEADING):
            advanced, above = "advanced" in text, []
        else:
            above.append(text)
    return found


@functools.cache
def _sources(module: ModuleType) -> dict[str, list[str]]:
    """Return the lines of each class; read without `ast`, which would take longer than --help."""
    found: dict[str, list[str]] = {}
    for part in re.split(r"^(?=\S)", inspect.getsource(module), flags=re.MULTILINE):
        if declared := re.match(r"class (\w+)", part):
            found[declared[1]] = part.splitlines()[1:]
    return found


def _default(item: "dataclasses.Field[Any]") -> str:
    if item.default_factory is not dataclasses.MISSING:
        value = item.default_factory()
        return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else written(value)
    return written(item.default) if item.default != "" else "''"


def _allowed(spec: Spec) -> str:
    limits = spec.limits
    if limits is None or not (limits.choices or limits.words()):
        return allowed(spec)
    if limits.choices:
        return ", ".join(limits.choices) + (" or null" if spec.optional else "")
    kind = allowed(dataclasses.replace(spec, types=spec.types[:1], optional=False))
    rest = (f" or {AUTO}" if len(spec.types) > 1 else "") + (" or null" if spec.optional else "")
    return f"{kind}, {limits.words()}{';' if rest else ''}{rest}"
