"""The source files that a function runs: its own, and the user's modules that it imports.

Found without running anything. What is installed is left to the recorded versions of packages.
"""

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

_MOST = 1000
"""Files that are followed at most."""


def source_files(file: Path, folder: Path | None = None) -> list[Path]:
    """Return a file and the modules beside it that it imports, directly or not, sorted.

    Args:
        file: A Python file.
        folder: Searched besides the file's own folder; the working directory by default.
    """
    file, folder = file.resolve(), (folder or Path.cwd()).resolve()
    roots = list(dict.fromkeys([file.parent, folder]))
    found, waiting = {file}, [file]
    while waiting and len(found) < _MOST:
        new = set(_imported(waiting.pop(), roots)) - found
        found |= new
        waiting += new
    return sorted(found)


def _imported(file: Path, roots: Sequence[Path]) -> Iterator[Path]:
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files(alias.name.split("."), roots)
        elif isinstance(node, ast.ImportFrom):
            package = node.module.split(".") if node.module else []
            above = [file.parents[node.level - 1]] if 0 < node.level <= len(file.parents) else roots
            yield from _files(package, above)
            for alias in node.names:
                yield from _files([*package, alias.name], above)


def _files(parts: Sequence[str], roots: Sequence[Path]) -> Iterator[Path]:
    """The files of a dotted name: its packages' and its own."""
    if parts[:1] == ["rlagent"]:
        # In a checkout it lies in the working directory; its version is recorded.
        return
    for root in roots:
        place, here = root, []
        for part in parts:
            place = place / part
            for file in (place / "__init__.py", place.with_suffix(".py")):
                if file.is_file():
                    here.append(file.resolve())
        if here:
            yield from here
            return
