"""A calculator that an agent may call as a tool: exact arithmetic on + - * / and parentheses.

Parsing is Python's own; nothing is ever executed. Wrong input comes back as text, so that the
model can read what was wrong and try again. What the result is used for is the agent's affair.
"""

import ast
import operator
import re
from fractions import Fraction
from typing import TYPE_CHECKING, Callable

from rlagent.base.syntax import parsed

if TYPE_CHECKING:
    from agentscope.tool import ToolResponse

# Longer input is refused: it bounds both the work and the nesting that the parser has to follow.
MAX_CHARACTERS = 200

_BINARY: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_UNARY: dict[type[ast.unaryop], Callable[[Fraction], Fraction]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


def evaluate(expression: str) -> str:
    """The value of an arithmetic expression as text: "14", "2.5", "0.3333333333".

    Dollar signs and thousands commas are ignored, `×` and `÷` are understood. Values are exact
    while they are computed and rounded to ten significant digits when they are not whole.

    Raises:
        ValueError: the text is not such an expression, is too long, divides by zero, or gives
            more than a float can hold.
    """
    if len(expression) > MAX_CHARACTERS:
        raise ValueError(f"the expression is longer than {MAX_CHARACTERS} characters")
    source = _THOUSANDS.sub("", expression).replace("$", "").replace("×", "*").replace("÷", "/")
    try:
        tree = parsed(source.strip(), mode="eval")
    except SyntaxError:
        raise ValueError(f"{expression!r} is not an arithmetic expression") from None
    try:
        return _text(_value(tree.body))
    except ZeroDivisionError:
        raise ValueError("division by zero") from None


def _value(node: ast.expr) -> Fraction:
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        return _BINARY[type(node.op)](_value(node.left), _value(node.right))
    if isinstance(node, ast.UnaryOp) and type(node.op) in _UNARY:
        return _UNARY[type(node.op)](_value(node.operand))
    # bool is a subclass of int, hence the comparison of types.
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        try:
            return Fraction(str(node.value))
        except ValueError:  # a decimal too large for a float reads as "inf"
            raise ValueError("a number is too large") from None
    raise ValueError("only numbers, + - * / and parentheses are allowed")


def _text(value: Fraction) -> str:
    try:
        rounded = float(value)
    except OverflowError:
        raise ValueError("the result is too large") from None
    return str(value.numerator) if value.denominator == 1 else f"{rounded:.10g}"


def calculator(expression: str) -> "ToolResponse":
    """Compute the value of an arithmetic expression.

    Args:
        expression (str): Numbers, + - * / and parentheses.
    """
    # Imported late: the arithmetic above is also of use where AgentScope is not.
    from agentscope.message import TextBlock
    from agentscope.tool import ToolResponse

    try:
        text = evaluate(expression)
    except ValueError as error:
        text = f"Error: {error}"
    return ToolResponse(content=[TextBlock(type="text", text=text)])
