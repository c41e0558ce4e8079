"""Whether some value of finite length fits a JSON schema, asked before a grammar is made of it.

A schema that requires itself within itself has none, and a decoder would never end.
"""

from typing import Any, List, Tuple


class EndlessSchemaError(ValueError):
    """No value fits a schema, or it is no schema; the message says where."""


def require_finite(schema: Any) -> None:
    """Hold that some value fits a schema.

    >>> require_finite({"type": "object", "properties": {"next": {"$ref": "#"}}})

    Raises:
        EndlessSchemaError: None does.
    """
    try:
        ends = _ends(schema, schema, ())
    except RecursionError as error:
        raise EndlessSchemaError("it is nested too deeply") from error
    if not ends:
        raise EndlessSchemaError("no value of finite length fits it")


def _ends(schema: Any, root: Any, within: Tuple[str, ...]) -> bool:
    """Whether a value of finite length fits; `within` are the references on the way here."""
    if isinstance(schema, bool):
        return schema
    if not isinstance(schema, dict):
        raise EndlessSchemaError(f"{schema!r} is no schema")
    reference = schema.get("$ref")
    if reference is not None:
        if reference in within:
            return False
        return _ends(_at(root, reference), root, (*within, reference))
    if "const" in schema:
        return True
    if "enum" in schema:
        return bool(schema["enum"])
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return any(_ends(each, root, within) for each in _list(schema, several))
    parts = _list(schema, "allOf") if "allOf" in schema else []
    return all(_ends(part, root, within) for part in [*parts, *_required(schema)])


def _required(schema: Any) -> List[Any]:
    """What a value must hold: the properties and the items that cannot be left out."""
    properties = schema.get("properties") or {}
    if not isinstance(properties, dict):
        raise EndlessSchemaError("properties must be an object")
    other = schema.get("additionalProperties", True)
    found = [properties.get(name, other) for name in schema.get("required") or []]
    if schema.get("minItems"):
        first = schema.get("prefixItems") or []
        found += [*first, *([] if first else [schema.get("items", True)])]
    return found


def _list(schema: Any, key: str) -> List[Any]:
    if not isinstance(schema[key], list):
        raise EndlessSchemaError(f"{key} must be a list")
    return schema[key]


def _at(root: Any, reference: Any) -> Any:
    if not isinstance(reference, str) or not reference.startswith("#"):
        raise EndlessSchemaError(
            f"$ref {reference!r} must lead into the schema itself: #/$defs/..."
        )
    found = root
    for part in reference[1:].split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, dict) or name not in found:
            raise EndlessSchemaError(f"$ref {reference!r} leads nowhere")
        found = found[name]
    return found
