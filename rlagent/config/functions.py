"""Finds user functions (`module:function`, `file.py:function`) and checks their signature.

Checking reads the source without running it, since a workflow's module may import whole agent
frameworks. `import_function` does run it and is for the processes that call the function.
"""

import ast
import importlib
import importlib.machinery
import importlib.util
import sys
import zlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from rlagent.base.errors import Problem
from rlagent.base.names import did_you_mean, nearest
from rlagent.base.paths import expand_user

WORKFLOW_ARGUMENTS = ("task",)
WORKFLOW_OPTIONAL = ("model", "auxiliary_models", "logger")
WORKFLOW_WAYS = (("model",), ("client",), ("base_url", "api_key"))
"""How a workflow may reach the model, of which it takes at least one: AgentScope's chat model, an
`openai.AsyncOpenAI`, address and key of an OpenAI-compatible endpoint."""
JUDGE_ARGUMENTS = ("task", "response")
JUDGE_OPTIONAL = ("auxiliary_models", "logger")

_FORM = "module:function or path/to/file.py:function"
_MOST_NAMED = 4
"""How many functions of a file a remedy names."""
_MOST_IMPORTS = 8
"""How many `from x import f` are followed to find where f is defined."""


@dataclass(frozen=True)
class Located:
    """Where a name is defined; `node` is None when only running the module would tell."""

    file: Path
    node: ast.FunctionDef | ast.AsyncFunctionDef | None


class NotFoundError(Exception):
    """A function cannot be found; the message says what is missing, `remedy` what to do."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


def split_reference(reference: str) -> tuple[str, str]:
    """Return module (or file) and function of a reference.

    >>> split_reference("rlagent.workflows.gsm8k_react:react_agent")
    ('rlagent.workflows.gsm8k_react', 'react_agent')

    Raises:
        NotFoundError: When it is not of that form.
    """
    module, colon, name = reference.rpartition(":")
    if not colon or not module or not name.isidentifier():
        raise NotFoundError(f"is not of the form {_FORM}", _complete(reference))
    return module, name


def _complete(reference: str) -> str:
    """Return what to write for a module or file without a function, or with a dot before it."""
    if ":" in reference:
        return ""
    try:
        names = list(_Names(_parsed(module_file(reference))).functions)
    except NotFoundError:
        if reference.endswith(".py"):
            return f"write {reference}:FUNCTION"
        return f"did you mean {':'.join(reference.rsplit('.', 1))}?" if "." in reference else ""
    if len(names) == 1:
        return f"did you mean {reference}:{names[0]}?"
    some = ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")
    return f"write {reference}:FUNCTION" + (f", which is one of {some}" if names else "")


def module_file(module: str, folder: Path | None = None) -> Path:
    """Return the source file of a module (dotted name or path) without importing anything.

    Args:
        module: As before the colon of a reference.
        folder: Searched first; the working directory by default.

    Raises:
        NotFoundError: When there is no such module, or no Python source for it.
    """
    folder = folder or Path.cwd()
    if module.endswith(".py") or "/" in module:
        path = folder / expand_user(module)
        if not path.is_file():
            raise _no_file(path)
        return path
    path_list: Sequence[str] | None = [str(folder), *sys.path]
    found = None
    parts = module.split(".")
    for index, part in enumerate(parts):
        name = ".".join(parts[: index + 1])
        # PathFinder alone never executes the packages on the way.
        found = importlib.machinery.PathFinder.find_spec(name, path_list)
        if found is None and index == 0 and part != "__main__":
            # Editable installations are found by importers of their own.
            found = importlib.util.find_spec(part)
        if found is None:
            raise _no_module(name, list(path_list or []) if index else [str(folder)])
        path_list = list(found.submodule_search_locations or [])
    assert found is not None
    if not found.origin or not found.origin.endswith(".py"):
        raise NotFoundError(f"the module {module} has no Python source file")
    return Path(found.origin)


def locate(reference: str, folder: Path | None = None) -> Located:
    """Find where the function of a reference is defined, following `from x import f`.

    Raises:
        NotFoundError: When module or function do not exist, or the file is not valid Python.
    """
    module, name = split_reference(reference)
    for _ in range(_MOST_IMPORTS):
        file = module_file(module, folder)
        tree = _parsed(file)
        if _is_path(module):
            package_of(file.resolve(), tree)
        names = _Names(tree)
        if name in names.functions:
            return Located(file, names.functions[name])
        if name in names.imported:
            source, original, level = names.imported[name]
            if level:
                package = module if file.name == "__init__.py" else module.rpartition(".")[0]
                base = package.split(".")[: len(package.split(".")) - (level - 1)]
                source = ".".join([*base, source] if source else base)
            if not source or module.endswith(".py"):
                return Located(file, None)
            module, name = source, original
            continue
        if name in names.others or names.star:
            return Located(file, None)
        raise NotFoundError(
            f"{file.name} has no function {name}", did_you_mean(name, list(names.functions))
        )
    raise NotFoundError(f"{reference} is imported in a circle")


def package_of(file: Path, tree: ast.Module) -> tuple[Path, str] | None:
    """Return the folder of the package that a file's relative imports ask for, and its own name.

    Args:
        file: Absolute.
        tree: Its syntax tree.

    Returns:
        What has to be on Python's path, and the dotted name of the module; None without relative
        imports: such a file is run by itself, whatever stands beside it.

    Raises:
        NotFoundError: The file is in no package, or its imports lead out of it.
    """
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    levels = [(node.level, node.lineno) for node in imports]
    deepest, line = max(levels, default=(0, 0))
    if not deepest:
        return None
    parts, folder = [file.stem], file.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    if len(parts) <= deepest:
        dots = "." * deepest
        raise NotFoundError(
            f"{file} line {line} imports from {dots}, but {folder} is no package",
            f"add an empty __init__.py to {folder}, or import without the leading dots",
        )
    return folder, ".".join(parts)


def _is_path(module: str) -> bool:
    return module.endswith(".py") or "/" in module


def _parsed(file: Path) -> ast.Module:
    """Return the syntax tree of a file, whose encoding Python finds: a BOM or a first line says it.

    Raises:
        NotFoundError: It cannot be read, or is no valid Python.
    """
    try:
        return ast.parse(file.read_bytes(), str(file))
    except SyntaxError as error:
        # Without a line when the file is no text in its encoding.
        where = f" line {error.lineno}" if error.lineno else ""
        raise NotFoundError(f"{file}{where}: {error.msg}", _of_encoding(error.msg)) from error
    except (ValueError, OSError) as error:
        raise NotFoundError(f"{file} cannot be read: {error}") from error
    except (RecursionError, MemoryError) as error:
        raise NotFoundError(f"{file} is nested too deeply for Python") from error


def _of_encoding(message: str) -> str:
    return "save the file as UTF-8" if "unicode error" in message or "encod" in message else ""


def taken_ways(names: Collection[str], given: Collection[str] = ()) -> list[tuple[str, ...]]:
    """Of `WORKFLOW_WAYS`, those whose arguments a workflow takes, all of them.

    Args:
        names: Its arguments.
        given: What `workflow.args` gives: an address and a key of something else.

    >>> taken_ways(["task", "base_url", "api_key"]), taken_ways(["task", "model", "api_key"])
    ([('base_url', 'api_key')], [('model',)])
    """
    free = set(names) - set(given).intersection(WORKFLOW_WAYS[-1])
    return [way for way in WORKFLOW_WAYS if free.issuperset(way)]


def missing_way(names: Collection[str], given: Collection[str] = ()) -> str:
    """What is wrong with the arguments of a workflow that reaches no model; empty: nothing.

    >>> missing_way(["task", "client"]), missing_way(["task", "base_url"])
    ('', 'takes base_url without api_key; one is of no use without the other')
    """
    if taken_ways(names, given):
        return ""
    for one, other in (WORKFLOW_WAYS[-1], WORKFLOW_WAYS[-1][::-1]):
        if one in names and other not in names:
            return f"takes {one} without {other}; one is of no use without the other"
    return "takes nothing to reach the model by: model, client, or base_url and api_key"


def check_function(
    key: str,
    reference: str,
    required: Sequence[str],
    optional: Sequence[str] = (),
    given: Sequence[str] = (),
    folder: Path | None = None,
    reaches_model: bool = False,
) -> list[Problem]:
    """Return what is wrong with a user function: not found, or a signature that does not fit.

    Args:
        key: The setting that names it, for the message.
        reference: `module:function` or `file.py:function`.
        required: Arguments that it must take.
        optional: Arguments that it gets when it names them.
        given: Further keyword arguments that it will be called with.
        folder: Searched first; the working directory by default.
        reaches_model: Whether it must also take one of `WORKFLOW_WAYS`.
    """
    try:
        located = locate(reference, folder)
    except NotFoundError as error:
        return [Problem(key, reference, str(error), error.remedy)]
    if located.node is None:
        return []
    arguments = located.node.args
    names = [item.arg for item in (*arguments.args, *arguments.kwonlyargs)]
    needed = _without_default(arguments)
    wanted = f"def {located.node.name}({', '.join(required)}, ...)"
    ways = taken_ways(names, given) if reaches_model else []
    optional = [*optional, *(name for way in ways for name in way)]
    problems = []
    missing = [name for name in required if name not in names]
    if missing and arguments.kwarg is None:
        problems.append(
            Problem(
                key,
                reference,
                f"takes ({', '.join(names)}) but must take {' and '.join(required)}; "
                f"missing: {', '.join(missing)}",
                f"write {wanted}",
            )
        )
        return problems
    if reaches_model and arguments.kwarg is None and (fault := missing_way(names, given)):
        forms = ", ".join(f"(task, {', '.join(way)})" for way in WORKFLOW_WAYS)
        remedy = f"write def {located.node.name} with one of {forms}"
        return [Problem(key, reference, fault, remedy)]
    for name in given:
        if name in (*required, *optional):
            problems.append(
                Problem(
                    f"workflow.args.{name}", None, "is given by rlagent itself", "take another name"
                )
            )
    allowed = {*required, *optional, *given}
    for name in needed:
        if name not in allowed:
            problems.append(
                Problem(
                    key,
                    reference,
                    f"needs the argument {name}, which nothing gives",
                    f"give it a default, or set workflow.args.{name}",
                )
            )
    if arguments.kwarg is None:
        for name in given:
            if name not in names:
                problems.append(
                    Problem(
                        f"workflow.args.{name}",
                        None,
                        f"{located.node.name} takes no such argument",
                        did_you_mean(name, names),
                    )
                )
    return problems


def import_function(reference: str, folder: Path | None = None) -> Callable[..., Any]:
    """Import and return a user function; this runs its module.

    The folder (working directory by default) joins sys.path, so that `module:function` also
    works from a console script.

    Raises:
        NotFoundError: When there is no such module or function.
    """
    module, name = split_reference(reference)
    folder = folder or Path.cwd()
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    if _is_path(module):
        loaded = _load_file(module_file(module, folder).resolve())
    else:
        module_file(module, folder)
        loaded = importlib.import_module(module)
    function = getattr(loaded, name, None)
    if not callable(function):
        raise NotFoundError(f"{module} has no function {name}")
    return function


def _load_file(file: Path) -> ModuleType:
    """Run a file as a module, once, under a name that no other module can have.

    One with relative imports is imported as the part of its package that it is.
    """
    package = package_of(file, _parsed(file))
    if package is not None:
        folder, module = package
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
        return importlib.import_module(module)
    name = f"rlagent_file_{zlib.crc32(str(file).encode()):08x}_{file.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    if str(file.parent) not in sys.path:
        # As when Python runs the file: it may import what lies beside it.
        sys.path.append(str(file.parent))
    loaded = importlib.util.module_from_spec(spec)
    # Dataclasses and pydantic look their own module up while it runs.
    sys.modules[name] = loaded
    try:
        spec.loader.exec_module(loaded)
    except BaseException:
        del sys.modules[name]
        raise
    return loaded


class _Names:
    """The names that a module binds at its top level, also inside if and try."""

    def __init__(self, tree: ast.Module) -> None:
        self.functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef] = {}
        self.imported: dict[str, tuple[str, str, int]] = {}
        self.others: set[str] = set()
        self.star = False
        self._read(tree.body)

    def _read(self, body: Sequence[ast.stmt]) -> None:
        for node in body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                if node.decorator_list:
                    # A decorator may change the signature.
                    self.others.add(node.name)
                else:
                    self.functions[node.name] = node
            elif isinstance(node, ast.ClassDef):
                self.others.add(node.name)
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    self.star = self.star or alias.name == "*"
                    bound = alias.asname or alias.name
                    self.imported[bound] = (node.module or "", alias.name, node.level)
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                self.others.update(item.id for item in targets if isinstance(item, ast.Name))
            else:
                for part in ("body", "orelse", "finalbody"):
                    self._read(getattr(node, part, []))
                for handler in getattr(node, "handlers", []):
                    self._read(handler.body)


def _no_file(path: Path) -> NotFoundError:
    folder = path.parent.resolve()
    near = nearest(path.stem, sorted(item.stem for item in folder.glob("*.py")))
    lacks = "" if folder.is_dir() else ", which does not exist"
    return NotFoundError(
        f"there is no file {path.name} in the folder {folder}{lacks}",
        f"did you mean {near}.py?" if near else "",
    )


def _no_module(name: str, places: Sequence[str]) -> NotFoundError:
    """Say where a module was looked for.

    Args:
        name: Its dotted name.
        places: The folders of its package, or the one that is searched before what is installed:
            there too many names are like any other.
    """
    package, dot, _ = name.rpartition(".")
    if dot and not places:
        return NotFoundError(f"there is no module {name}, since {package} is no package")
    where = ", ".join(places) + ("" if dot else " or among what is installed")
    remedy = did_you_mean(name, [f"{package}{dot}{item}" for item in _modules_in(places)])
    return NotFoundError(f"there is no module {name} in {where}", remedy)


def _without_default(arguments: ast.arguments) -> list[str]:
    positional = [*arguments.posonlyargs, *arguments.args]
    count = len(positional) - len(arguments.defaults)
    names = [item.arg for item in positional[:count]]
    pairs = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return names + [item.arg for item, default in pairs if default is None]


def _modules_in(folders: Sequence[str]) -> list[str]:
    names = []
    for folder in folders:
        for entry in sorted(Path(folder).iterdir()) if Path(folder).is_dir() else []:
            if entry.suffix == ".py" or (entry / "__init__.py").is_file():
                names.append(entry.stem)
    return names
