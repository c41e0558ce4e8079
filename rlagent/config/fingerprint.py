"""What a function that is passed as an object carries beside its source: arguments and state.

Two calls of one function with other arguments, closures, attributes or globals are two trials.
The fingerprint is the same in every process: it is made of names and values, never of addresses,
and the order of sets and mappings does not count. The source itself is sources.py's.
"""

import copyreg
import dis
import functools
import hashlib
import inspect
import json
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlagent.base.errors import Problem

_PLAIN = (type(None), bool, int, float, complex, str)
_GLOBAL_READS = ("LOAD_GLOBAL", "LOAD_NAME")
_DIGITS = 8
_HEAP_TYPE = 1 << 9
"""Flag of classes that are not built into the interpreter or an extension."""


@dataclass(frozen=True)
class Fingerprint:
    """A function as part of a trial's identity.

    Args:
        name: `file:function`, with `#digits` of its state when it carries any.
        carried: The functions and classes that travel with it by value, itself included.
    """

    name: str
    carried: list[Any]


class NotStableError(Exception):
    """Something that a function carries has no value that another process could have too."""


def fingerprint(function: Callable[..., Any]) -> Fingerprint:
    """Return what a function is.

    Raises:
        NotStableError: It carries what cannot be passed on, such as a lock; names the variable.
    """
    walk = _Walk()
    try:
        with walk.inside(_short(function)):
            state = walk.state(function)
    except RecursionError as error:
        raise NotStableError(f"{_short(function)} carries what is nested too deeply") from error
    digest = f"#{_digest(state)}" if state else ""
    return Fingerprint(f"{function_name(function)}{digest}", walk.carried)


def not_stable(key: str, name: str, error: NotStableError) -> Problem:
    """Return the mistake that a function carries what cannot be passed on."""
    remedy = "make it inside the function, or give plain values in workflow.args"
    return Problem(key, name, str(error), remedy)


def function_name(function: Callable[..., Any]) -> str:
    """`file:function`; the module would be `__main__` in every script."""
    called = inspect.unwrap(inner(function))
    if not hasattr(called, "__code__"):
        called = type(called).__call__
    code = getattr(called, "__code__", None)
    file = code.co_filename if code else type(function).__module__
    return f"{Path(file).stem}:{qualified(function)}"


def qualified(function: Callable[..., Any]) -> str:
    """The name of a function; of a partial one that of what it calls, of an object its class."""
    return getattr(inner(function), "__qualname__", type(function).__qualname__)


def inner(function: Callable[..., Any]) -> Callable[..., Any]:
    """What a partial function calls; others as they are."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def travels_by_value(thing: Any) -> bool:
    """Whether a function or class is pickled whole: another process cannot import it by name."""
    if isinstance(thing, type) and not thing.__flags__ & _HEAP_TYPE:
        return False
    module = sys.modules.get(getattr(thing, "__module__", None) or "")
    if module is None or module.__name__ == "__main__":
        return True
    found: Any = module
    for part in thing.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is not thing


class _Walk:
    """Turns what a function carries into plain lists; `where` says where it is at the moment."""

    def __init__(self) -> None:
        self.carried: list[Any] = []
        self._where: list[str] = []
        self._open: dict[int, int] = {}
        # The objects stay alive, so that no other can get their address.
        self._done: dict[int, tuple[Any, Any]] = {}

    @contextmanager
    def inside(self, where: str) -> Iterator[None]:
        self._where.append(where)
        yield
        self._where.pop()

    def state(self, thing: Any) -> Any:
        """What a function or class carries; empty when its source says it all."""
        if isinstance(thing, functools.partial):
            return ["partial", self._partial(thing)]
        if isinstance(thing, types.MethodType):
            with self.inside("object"):
                return ["method", self.value(thing.__self__), self.state(thing.__func__)]
        if isinstance(thing, types.FunctionType):
            return self._of_once(thing, self._function) if travels_by_value(thing) else []
        if isinstance(thing, type):
            return self._of_once(thing, self._class) if travels_by_value(thing) else []
        if isinstance(thing, types.BuiltinFunctionType):
            return []
        if isinstance(thing, types.ModuleType):
            return []
        # An object that can be called.
        made_of = self._of_once(thing, self._reduced)
        return [] if made_of == self._bare(type(thing)) else made_of

    def value(self, thing: Any) -> Any:
        """Any object as nested lists of texts."""
        kind = type(thing)
        if kind in _PLAIN:
            return [kind.__name__, repr(thing)]
        if kind in (bytes, bytearray):
            return [kind.__name__, hashlib.sha256(thing).hexdigest()]
        if kind is types.ModuleType:
            return ["module", thing.__name__]
        if isinstance(thing, (types.FunctionType, types.BuiltinFunctionType, type)):
            return ["named", thing.__module__ or "", thing.__qualname__, self.state(thing)]
        if kind in (functools.partial, types.MethodType):
            return ["named", function_name(thing), self.state(thing)]
        if kind in (staticmethod, classmethod):
            return [kind.__name__, self.value(thing.__func__)]
        if kind is property:
            return ["property", *(self.value(part) for part in (thing.fget, thing.fset))]
        return self._of_once(thing, self._container_or_object)

    def _of_once(self, thing: Any, make: Callable[[Any], Any]) -> Any:
        """Make it, unless that was done before or is being done further out."""
        if id(thing) in self._open:
            return ["again", str(self._open[id(thing)])]
        key = id(thing)
        if key not in self._done:
            self._open[key] = len(self._open)
            made = make(thing)
            del self._open[key]
            self._done[key] = thing, made
        return self._done[key][1]

    def _container_or_object(self, thing: Any) -> Any:
        kind = type(thing)
        if kind in (list, tuple):
            return [kind.__name__, [self.value(item) for item in thing]]
        if kind in (set, frozenset):
            return [kind.__name__, sorted((self.value(item) for item in thing), key=_text)]
        if kind is dict:
            return ["dict", self._items(thing.items())]
        return self._reduced(thing)

    def _items(self, items: Any) -> list[Any]:
        found = []
        for key, item in items:
            with self.inside(f"item {str(key)[:40]!r}"):
                found.append([self.value(key), self.value(item)])
        return sorted(found, key=_text)

    def _partial(self, function: functools.partial) -> list[Any]:
        found: list[Any] = [self.state(function.func)]
        for number, item in enumerate(function.args, start=1):
            with self.inside(f"argument {number}"):
                found.append(self.value(item))
        for name in sorted(function.keywords):
            with self.inside(f"argument {name}"):
                found.append([name, self.value(function.keywords[name])])
        return found

    def _function(self, function: types.FunctionType) -> list[Any]:
        self.carried.append(function)
        code, found = function.__code__, []
        if code.co_name == "<lambda>":
            # Two of them have one name, and may stand in one line.
            found.append(["code", _code(code)])
        named = {f"default {n}": v for n, v in enumerate(function.__defaults__ or (), start=1)}
        named |= {f"default of {n}": v for n, v in (function.__kwdefaults__ or {}).items()}
        cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
        named |= {f"closure variable {n}": c.cell_contents for n, c in cells if _is_set(c)}
        named |= {f"global {n}": v for n, v in _globals_read(function)}
        named |= {f"attribute {n}": v for n, v in vars(function).items() if n != "__wrapped__"}
        for words, item in sorted(named.items(), key=lambda pair: pair[0]):
            name = words.rpartition(" ")[2]
            with self.inside(words):
                if not (words.startswith("global ") and _stands_in_source(name, item)):
                    found.append([words, self.value(item)])
                elif carries := self.state(item):
                    found.append([words, carries])
        return found

    def _class(self, cls: type) -> list[Any]:
        self.carried.append(cls)
        found = []
        for base in cls.__bases__:
            if carries := self.state(base):
                found.append([base.__qualname__, carries])
        for name, item in sorted(vars(cls).items()):
            item = getattr(item, "__func__", item)
            if isinstance(item, property):
                item = item.fget
            with self.inside(f"{name} of class {cls.__qualname__}"):
                if isinstance(item, types.FunctionType):
                    if carries := self.state(item):
                        found.append([name, carries])
                elif not name.startswith(("__", "_abc_")) and not inspect.isdatadescriptor(item):
                    found.append([name, self.value(item)])
        return found

    def _bare(self, cls: type) -> Any:
        """What an object is made of that has no state and whose class has none."""
        new = ["named", "copyreg", "__newobj__", []]
        return [[new, ["named", cls.__module__, cls.__qualname__, []]], [], [], []]

    def _reduced(self, thing: Any) -> Any:
        """An object by what pickle would make it of again."""
        parts = self._parts(thing)
        if isinstance(parts, str):
            return ["global", getattr(thing, "__module__", "") or "", parts]
        maker, arguments, *rest = parts
        state, items, pairs = [*rest, None, None, None][:3]
        with self.inside(f"{type(thing).__qualname__} object"):
            return [
                [self.value(maker), *(self.value(item) for item in arguments)],
                self._state_of(state),
                [self.value(item) for item in items or ()],
                self._items(pairs or ()),
            ]

    def _state_of(self, state: Any) -> Any:
        if state is None:
            return []
        if not isinstance(state, dict):
            return self.value(state)
        found = []
        for name, item in state.items():
            with self.inside(f"attribute {name}"):
                found.append([str(name), self.value(item)])
        return sorted(found, key=_text)

    def _parts(self, thing: Any) -> Any:
        reduce = copyreg.dispatch_table.get(type(thing))
        try:
            return reduce(thing) if reduce else thing.__reduce_ex__(4)
        # A class of the user's may raise anything here.
        except Exception as error:
            kind = type(thing)
            name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
            where = " of ".join(reversed(self._where))
            raise NotStableError(
                f"the {where} is a {name}, which cannot be passed to other processes"
            ) from error


def _globals_read(function: types.FunctionType) -> list[tuple[str, Any]]:
    """The globals that a function or what is defined in it reads, by name."""
    names: set[str] = set()
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        for step in dis.get_instructions(code):
            if step.opname in _GLOBAL_READS:
                names.add(step.argval)
        codes += [item for item in code.co_consts if isinstance(item, types.CodeType)]
    there = function.__globals__
    return [(name, there[name]) for name in sorted(names) if name in there]


def _stands_in_source(name: str, thing: Any) -> bool:
    """Whether a global is what `import`, `def` or `class` of that name makes of it."""
    if isinstance(thing, types.ModuleType):
        return True
    is_named = isinstance(thing, (types.FunctionType, types.BuiltinFunctionType, type))
    return is_named and thing.__name__ == name


def _is_set(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def _code(code: types.CodeType) -> list[Any]:
    constants = [
        _code(item)
        if isinstance(item, types.CodeType)
        else sorted(map(repr, item))
        if isinstance(item, frozenset)
        else repr(item)
        for item in code.co_consts
    ]
    return [code.co_code.hex(), constants, code.co_names, code.co_varnames]


def _short(function: Callable[..., Any]) -> str:
    return qualified(function).rpartition(".")[2]


def _text(plain: Any) -> str:
    return json.dumps(plain)


def _digest(plain: Any) -> str:
    return hashlib.sha256(_text(plain).encode()).hexdigest()[:_DIGITS]
