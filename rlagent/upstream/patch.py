"""A patch of foreign code: what it is for, what it relies on, and whether that is there.

What is relied on is read from the library's source, without importing it.
"""

import ast
import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Generic, ParamSpec, TypeVar, cast

from rlagent.base.syntax import parsed

P = ParamSpec("P")
R = TypeVar("R")

PATCHES: dict[str, "Patch"] = {}
"""Every patch of the modules that were imported, by name."""


class PatchError(RuntimeError):
    """A library lacks what a patch relies on; the message says which version does not."""

    says_all = True


@dataclass(frozen=True)
class Relies:
    """One thing that a patch relies on.

    Args:
        symbol: Where it is, as `module:name` or `module:class.name`; `module` alone for all of its
            text, which is found quickest.
        signature: The names of its parameters, such as `self, task, *, timeout`; None: any.
        holds: What its source contains, such as the name that is replaced and looked up there.
    """

    symbol: str
    signature: str | None = None
    holds: str = ""

    def misfit(self, folder: Path) -> str:
        """What is not as it should be in the packages of that folder; empty: all is."""
        module, _, name = self.symbol.partition(":")
        text = _text(folder, module)
        if text is None:
            return f"{self.symbol} is gone"
        if name:
            node = _find(_tree(folder, module), name.split("."))
            if node is None:
                return f"{self.symbol} is gone"
            if self.signature is not None and (found := _signature(node)) != self.signature:
                return f"{self.symbol} takes ({found}), not ({self.signature})"
            first, last = getattr(node, "lineno", 1), getattr(node, "end_lineno", None)
            text = "\n".join(text.splitlines()[first - 1 : last])
        return "" if self.holds in text else f"{self.symbol} no longer has {self.holds!r}"


@dataclass(frozen=True)
class Patch(Generic[P, R]):
    """A change to a library, made by `apply`; fields are those of `patch`."""

    change: Callable[P, R]
    library: str
    versions: str
    link: str
    removable_when: str
    relies_on: tuple[Relies, ...]

    @property
    def name(self) -> str:
        """What it is called."""
        return self.change.__name__

    @property
    def reason(self) -> str:
        """What it is for."""
        return inspect.getdoc(self.change) or ""

    def apply(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Make the change in this process; what it returns is the change's own.

        Raises:
            PatchError: What it relies on is not there.
        """
        problems = _installed_misfits(self)
        if problems:
            raise PatchError(
                f"{self.library} {installed(self.library)} does not fit the patch {self.name}, "
                f"made for {self.versions}: {'; '.join(problems)}; install {self.library} "
                f"{self.versions}"
            )
        return self.change(*args, **kwargs)

    def misfits(self, folder: Path | None = None) -> list[str]:
        """What it relies on and is not there; `folder` holds the packages, None: as installed."""
        found = (each.misfit(folder or _folder(each.symbol)) for each in self.relies_on)
        return [problem for problem in found if problem]


def patch(
    library: str, versions: str, link: str, removable_when: str, relies_on: list[Relies]
) -> Callable[[Callable[P, R]], Patch[P, R]]:
    """Register a function as a patch; its docstring says what the patch is for.

    Args:
        library: The distribution that is changed.
        versions: Those that it was made for.
        link: The issue, or the lines, that make it necessary.
        removable_when: When it can go.
        relies_on: What has to be there, and would make it fail, or do nothing, if it were not.
    """

    def register(change: Callable[P, R]) -> Patch[P, R]:
        made = Patch(change, library, versions, link, removable_when, tuple(relies_on))
        PATCHES[made.name] = made
        return made

    return register


def installed(library: str) -> str | None:
    """The version of a distribution; None: it is not installed."""
    # Composing a configuration applies patches, and this takes as long to import as all of them.
    from importlib import metadata

    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


@functools.cache
def _installed_misfits(each: Patch) -> list[str]:
    return each.misfits()


def _folder(symbol: str) -> Path:
    """Where the package of a symbol is, also while something stands in for it in sys.modules."""
    package = symbol.partition(":")[0].split(".")[0]
    spec = PathFinder.find_spec(package)
    return Path(spec.origin).parent.parent if spec and spec.origin else Path(package)


@functools.cache
def _text(folder: Path, module: str) -> str | None:
    path = folder.joinpath(*module.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file.read_text(encoding="utf-8")
    return None


@functools.cache
def _tree(folder: Path, module: str) -> ast.Module:
    return cast(ast.Module, parsed(_text(folder, module) or ""))


def _find(scope: ast.AST, names: list[str]) -> ast.AST | None:
    """The definition of a name in a module or class, also below an `if` or `try`."""
    if not names:
        return scope
    found = (each for each in _statements(scope) if names[0] in _defined(each))
    return next((node for each in found if (node := _find(each, names[1:]))), None)


def _statements(scope: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(scope):
        yield node
        nested = isinstance(node, (ast.If, ast.Try, ast.With, ast.ExceptHandler))
        # Attributes that methods give to an object belong to its class.
        if nested or (isinstance(scope, ast.ClassDef) and isinstance(node, ast.FunctionDef)):
            yield from _statements(node)


def _defined(node: ast.AST) -> set[str]:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {node.name}
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return {each.asname or each.name for each in node.names}
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    named = (getattr(each, "id", getattr(each, "attr", "")) for each in targets if each)
    return {str(name) for name in named}


def _signature(node: ast.AST) -> str:
    """The names of a function's parameters, or of its class's constructor."""
    if isinstance(node, ast.ClassDef):
        node = _find(node, ["__init__"]) or node
    given = getattr(node, "args", None)
    if not isinstance(given, ast.arguments):
        return ""
    names = [each.arg for each in (*given.posonlyargs, *given.args)]
    if given.vararg or given.kwonlyargs:
        names.append(f"*{given.vararg.arg if given.vararg else ''}")
    names += [each.arg for each in given.kwonlyargs]
    return ", ".join([*names, f"**{given.kwarg.arg}"] if given.kwarg else names)
