"""A schema that no value of finite length fits is refused before a grammar is made of it."""

import pytest

from rlagent.backends.embedded.engine.schemas import EndlessSchemaError, require_finite

ITSELF = {"$ref": "#"}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        True,
        {"type": "object", "properties": {"next": ITSELF}},
        {"anyOf": [ITSELF, {"type": "string"}]},
        {"type": "array", "items": ITSELF},
        {
            "$defs": {"tree": {"type": "object", "properties": {"leaf": {"$ref": "#/$defs/tree"}}}},
            "$ref": "#/$defs/tree",
        },
        {"const": 1},
    ],
)
def test_a_schema_that_may_end_is_taken(schema: object) -> None:
    require_finite(schema)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (ITSELF, "no value of finite length"),
        (
            {"type": "object", "properties": {"a": ITSELF}, "required": ["a"]},
            "no value of finite length",
        ),
        ({"allOf": [ITSELF]}, "no value of finite length"),
        ({"type": "array", "items": ITSELF, "minItems": 1}, "no value of finite length"),
        (
            {
                "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
                "$ref": "#/$defs/a",
            },
            "no value of finite length",
        ),
        ({"enum": []}, "no value of finite length"),
        ({"$ref": "#/$defs/none"}, "leads nowhere"),
        ({"$ref": "https://example.org/schema"}, "must lead into the schema itself"),
        (3, "is no schema"),
        ({"anyOf": {}}, "must be a list"),
    ],
)
def test_a_schema_that_no_value_fits_says_why(schema: object, reason: str) -> None:
    with pytest.raises(EndlessSchemaError, match=reason):
        require_finite(schema)


def test_a_schema_nested_without_end_is_refused_rather_than_followed() -> None:
    deep: dict = {}
    for _ in range(100_000):
        deep = {"allOf": [deep]}
    with pytest.raises(EndlessSchemaError, match="too deeply"):
        require_finite(deep)
