"""What dataset.filter may say: a function by name, or a comparison of columns.

A comparison is read with Python's grammar and worked out here, operation by operation: nothing that
is written in a configuration is run.
"""

import ast
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from rlagent.base.errors import Problem
from rlagent.config.functions import check_function, import_function

KEY = "dataset.filter"
FORM = (
    "write a comparison such as \"level <= 3 and subject == 'algebra'\", or name a function of a "
    "row: FILE.py:FUNCTION"
)

_REFERENCE = re.compile(r"[\w./~-]+:[A-Za-z_]\w*")
_LONGEST = 2000
_DEEPEST = 100
"""Operations within each other."""
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda item, all_of: item in all_of,
    ast.NotIn: lambda item, all_of: item not in all_of,
}
_CONSTANTS = {"null": None, "true": True, "false": False}


class MissingColumnError(ValueError):
    """A row lacks a column that is asked for.

    Args:
        column: Its name.
        row: The row, whose names are kept.
        part: What asks for it: `filter`, or `map`.
    """

    def __init__(self, column: str, row: Mapping[str, Any], part: str = "filter") -> None:
        self.column, self.there, self.part = column, tuple(row), part
        super().__init__(f"has no {column}")


def is_reference(text: str) -> bool:
    """Whether a text names a function.

    >>> is_reference("mine.py:keep"), is_reference("level <= 3")
    (True, False)
    """
    return _REFERENCE.fullmatch(text) is not None


def filter_problems(text: str | None, key: str = KEY) -> list[Problem]:
    """Return what is wrong with a filter as written; imports nothing."""
    if text is None:
        return []
    if is_reference(text):
        return check_function(key, text, ("row",))
    try:
        _parsed(text)
    except ValueError as error:
        return [Problem(key, text, str(error), FORM)]
    return []


def keeps(text: str) -> Callable[[Mapping[str, Any]], bool]:
    """The filter as a function of a row; importing the user's module where one is named.

    The function raises ValueError for a row that it cannot judge, MissingColumnError where that
    lacks a column.

    >>> keep = keeps("level <= 3 and len(question) < 10")
    >>> keep({"level": 2, "question": "1 + 1"}), keep({"level": 4, "question": ""})
    (True, False)
    """
    if is_reference(text):
        return _by_function(text)
    tree = _parsed(text)
    return lambda row: bool(_value(tree, row))


def _by_function(reference: str) -> Callable[[Mapping[str, Any]], bool]:
    function = import_function(reference)

    def keep(row: Mapping[str, Any]) -> bool:
        try:
            kept = function(row)
        # Whatever a function of the user's raises is that row's mistake.
        except Exception as error:
            cause = f"{type(error).__name__}: {error}"
            raise ValueError(f"makes {reference} fail: {cause}") from error
        if not isinstance(kept, bool):
            raise ValueError(f"makes {reference} return {kept!r}, which is not True or False")
        return kept

    return keep


def _parsed(text: str) -> ast.expr:
    if len(text) > _LONGEST:
        raise ValueError(f"has more than {_LONGEST} characters")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, RecursionError, MemoryError, ValueError) as error:
        raise ValueError(f"is no comparison: {getattr(error, 'msg', error)}") from error
    _check_depth(tree)
    _check(tree)
    return tree


def _check_depth(tree: ast.expr) -> None:
    """Raise ValueError for what would be too deep for the functions below."""
    level: list[ast.AST] = [tree]
    for _ in range(_DEEPEST):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    if level:
        raise ValueError(f"is no comparison: nested more than {_DEEPEST} deep")


def _check(node: ast.expr) -> None:
    """Raise ValueError for what `_value` does not know."""
    match node:
        case ast.BoolOp(values=parts):
            for part in parts:
                _check(part)
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            _check(operand)
        case ast.Compare(left=left, ops=ops, comparators=others) if all(
            type(op) in _COMPARISONS for op in ops
        ):
            for part in (left, *others):
                _check(part)
        case ast.Call(func=ast.Name(id="len"), args=[argument], keywords=[]):
            _check(argument)
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            for part in parts:
                _check(part)
        case ast.Name() | ast.Constant(value=None | bool() | int() | float() | str()):
            pass
        case _:
            shown = ast.unparse(node)
            known = "columns, numbers, texts, lists, comparisons, in, and, or, not, len()"
            raise ValueError(f"holds {shown}; a comparison has {known}")


def _value(node: ast.expr, row: Mapping[str, Any]) -> Any:
    match node:
        case ast.BoolOp(op=op, values=parts):
            every = (bool(_value(part, row)) for part in parts)
            return all(every) if isinstance(op, ast.And) else any(every)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _value(operand, row)
        case ast.Compare(left=left, ops=ops, comparators=others):
            return _compared(_value(left, row), zip(ops, others, strict=True), row)
        case ast.Name(id=name):
            if name in row:
                return row[name]
            if name in _CONSTANTS:
                return _CONSTANTS[name]
            raise MissingColumnError(name, row)
        case ast.Constant(value=value):
            return value
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return [_value(part, row) for part in parts]
        case ast.UnaryOp(operand=part):
            return _applied(operator.neg, part, row)
        case ast.Call(args=[part]):
            return _applied(len, part, row)
    raise AssertionError("_check lets through what _value does not know")


def _applied(function: Callable[[Any], Any], part: ast.expr, row: Mapping[str, Any]) -> Any:
    value = _value(part, row)
    try:
        return function(value)
    except TypeError as error:
        raise ValueError(f"holds {value!r} for {ast.unparse(part)}: {error}") from error


def _compared(left: Any, rest: Any, row: Mapping[str, Any]) -> bool:
    for op, other in rest:
        right = _value(other, row)
        try:
            if not _COMPARISONS[type(op)](left, right):
                return False
        except TypeError as error:
            raise ValueError(f"cannot be judged by {KEY}: {error}") from error
        left = right
    return True
