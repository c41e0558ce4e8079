"""Every key of the schema with what its declaration says: meaning, default, what is allowed.

The meaning is the comment above a field, and its section (core, advanced) the heading before it:
both are read from the schema's source, so that nothing is written twice.
"""

import ast
import dataclasses
import inspect
import textwrap
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rlagent.base.errors import written
from rlagent.base.limits import LIMITS
from rlagent.config.schema import AUTO, LearnConfig
from rlagent.config.spec import allowed, spec_of

_HEADING = "----"


@dataclass(frozen=True)
class Knob:
    """One key that can be set.

    Args:
        key: Dotted; `[]` stands for any place in a list.
        meaning: One or more sentences; empty for a group, which has a docstring.
        default: As one writes it on the command line.
        allowed: Type and range in words.
        advanced: Whether it stands below the core fields of its group.
    """

    key: str
    meaning: str
    default: str
    allowed: str
    advanced: bool

    @property
    def group(self) -> str:
        """Return the keys before the last, "" at the top."""
        return self.key.rpartition(".")[0]


def knobs(cls: type = LearnConfig, prefix: str = "") -> Iterator[Knob]:
    """Yield every key below a dataclass, in the order of its declaration."""
    hints, comments = typing.get_type_hints(cls), _comments(cls)
    for item in dataclasses.fields(cls):
        key, hint = f"{prefix}{item.name}", hints[item.name]
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            yield from knobs(hint, f"{key}.")
            continue
        meaning, advanced = comments[item.name]
        yield Knob(key, meaning, _default(item), _allowed(hint, item), advanced)
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


def _comments(cls: type) -> dict[str, tuple[str, bool]]:
    """Return the comment above each field of a dataclass, and whether it is an advanced one."""
    source = textwrap.dedent(inspect.getsource(cls))
    lines = [line.strip() for line in source.splitlines()]
    (declared,) = ast.parse(source).body
    found, advanced = {}, False
    for node in typing.cast(ast.ClassDef, declared).body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        above, line = [], node.lineno - 2
        while lines[line].startswith("#") or not lines[line]:
            text = lines[line].lstrip("# ")
            if text.startswith(_HEADING):
                advanced = "advanced" in text
                break
            above.append(text)
            line -= 1
        found[node.target.id] = (" ".join(reversed(above)).strip(), advanced)
    return found


def _default(item: "dataclasses.Field[Any]") -> str:
    if item.default_factory is not dataclasses.MISSING:
        value = item.default_factory()
        return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else written(value)
    return written(item.default) if item.default != "" else "''"


def _allowed(hint: Any, item: "dataclasses.Field[Any]") -> str:
    spec, limits = spec_of(hint), item.metadata.get(LIMITS)
    if limits is None or not (limits.choices or limits.words()):
        return allowed(spec)
    if limits.choices:
        return ", ".join(limits.choices) + (" or null" if spec.optional else "")
    kind = allowed(dataclasses.replace(spec, types=spec.types[:1], optional=False))
    rest = (f" or {AUTO}" if len(spec.types) > 1 else "") + (" or null" if spec.optional else "")
    return f"{kind}, {limits.words()}{';' if rest else ''}{rest}"
