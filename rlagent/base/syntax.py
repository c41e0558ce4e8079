"""Python's text as a tree, also where several threads ask at once."""

import ast
import threading
from typing import Any

_LOCK = threading.Lock()


def parsed(text: str, mode: str = "exec") -> Any:
    """The tree of a text, as `ast.parse` gives it.

    Rollouts of plain functions are threads. Python 3.11 counts the depth of the tree that it makes
    in one place for all of them, and garbage collection can let another one in halfway: it then
    fails with "AST constructor recursion depth mismatch".

    Raises:
        SyntaxError: The text is not Python.
    """
    with _LOCK:
        return ast.parse(text, mode=mode)
