"""The calculator tool computes exactly and answers mistakes with text."""

import pytest

from rlagent.tools.calculator import calculator, evaluate


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("3 + 4", "7"),
        ("(3 + 4) * 2", "14"),
        ("12 / 4", "3"),
        ("10 / 4", "2.5"),
        ("1 / 3", "0.3333333333"),
        ("0.1 + 0.2", "0.3"),
        ("-3 + 10", "7"),
        ("2 - -2", "4"),
        ("$1,234 + 1", "1235"),
        ("1,234,567 + 1", "1234568"),
        ("6 × 7 ÷ 2", "21"),
        (" 8 ", "8"),
    ],
)
def test_an_expression_has_its_exact_value(expression: str, value: str) -> None:
    assert evaluate(expression) == value


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("1 / 0", "division by zero"),
        ("", "not an arithmetic expression"),
        ("3 +", "not an arithmetic expression"),
        ("x + 1", "only numbers"),
        ("2 ** 9", "only numbers"),
        ("True + 1", "only numbers"),
        ("__import__('os').getcwd()", "only numbers"),
        ("[1][0]", "only numbers"),
        ("1e999", "too large"),
        ("1e300 * 1e300", "result is too large"),
        ("1e300 * 1e300 / 7", "result is too large"),
        ("1" + "+1" * 200, "longer than"),
        ("(" * 199 + "1", "not an arithmetic expression"),
    ],
)
def test_anything_else_is_refused_with_the_reason(expression: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        evaluate(expression)


def test_the_tool_answers_with_text_also_when_the_input_is_wrong() -> None:
    assert calculator("7 * 6").content[0]["text"] == "42"
    assert calculator("1 / 0").content[0]["text"] == "Error: division by zero"


def test_agentscope_makes_a_schema_of_the_tool() -> None:
    from agentscope.tool import Toolkit

    toolkit = Toolkit()
    toolkit.register_tool_function(calculator)
    (schema,) = toolkit.get_json_schemas()
    function = schema["function"]
    assert function["name"] == "calculator"
    assert function["parameters"]["required"] == ["expression"]
    assert function["parameters"]["properties"]["expression"]["type"] == "string"
    assert "arithmetic" in function["description"]
