"""Python's text as a tree, also where several threads ask at once."""

import ast
import threading
from typing import Any

_LOCK = threading.Lock()


def parsed(text: str, mode: str = "exec") -> Any:
    """The tree of a text, as `ast.parse` gives it.

    Python 3.11 counts the depth of a tree in one place for all threads, and rollouts of plain
    functions are threads: two at once, and one fails with "AST constructor recursion depth
    mismatch" (https://github.com/python/cpython/issues/106905).

    Raises:
        SyntaxError: The text is not Python.
    """
    with _LOCK:
        return ast.parse(text, mode=mode)
