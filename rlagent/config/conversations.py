"""Given conversations: OpenAI's `messages` and `tools`, as Trinity and TRL have them too.

What is wrong with a row is said here; how one is rendered is trinity/masks.py's.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlagent.base.errors import Problem
from rlagent.config.json_rows import RowError, parse, texts
from rlagent.config.wrong_rows import WrongRows

ROLES = ("system", "developer", "user", "assistant", "tool")


@dataclass(frozen=True)
class Conversation:
    """One row, in one form: contents are text, arguments of calls objects, nothing is null.

    Args:
        messages: OpenAI's.
        tools: Those that could be called; empty: none.
    """

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]


def conversation(row: Mapping[str, Any]) -> Conversation:
    """The conversation of a row.

    `messages` and `tools` may be JSON texts, as Trinity advises where tools differ between rows,
    contents parts of text, and arguments JSON texts, as OpenAI's interface has them.

    Raises:
        ValueError: It cannot be learnt from; the message says where and why.
    """
    given = _listed(row, "messages")
    if not given:
        raise ValueError("has no messages")
    messages = [_message(message, f"messages.{place}") for place, message in enumerate(given)]
    if not any(_says(message) for message in messages):
        raise ValueError("has no message of the assistant, so that nothing can be learnt")
    tools = [_tool(tool, f"tools.{place}") for place, tool in enumerate(_listed(row, "tools"))]
    return Conversation(messages, tools)


def wrong_rows(
    rows: Iterable[tuple[int, Mapping[str, Any]]], file: Path | str, key: str, path: str
) -> list[Problem]:
    """Return what is wrong with rows, a few of them named.

    Args:
        rows: Each with the line that it begins at.
        file: Where they stand.
        key: Configuration key that names the file.
        path: Its value.
    """
    wrong = WrongRows()
    for line, row in rows:
        try:
            conversation(row)
        except ValueError as error:
            remedy = "mend it, or leave the row out"
            wrong.add(Problem(key, path, f"line {line} of {file}: {error}", remedy))
    return wrong.close(key, path)


def file_problems(file: Path, key: str, path: str) -> list[Problem]:
    """Return what is wrong with the conversations of a JSON file; what is no row is not theirs."""

    def rows() -> Iterable[tuple[int, dict[str, Any]]]:
        for line, text in texts(file):
            try:
                yield line, parse(text)
            except ValueError:
                continue

    try:
        return wrong_rows(rows(), file, key, path)
    except RowError:
        # Said where rows are read.
        return []


def _says(message: Mapping[str, Any]) -> bool:
    said = message.get("content") or message.get("tool_calls")
    return message["role"] == "assistant" and bool(said)


def _listed(row: Mapping[str, Any], name: str) -> list[Any]:
    """A list, or the JSON text of one; empty where there is none."""
    value = row.get(name)
    if isinstance(value, str) and value:
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"{name} is a text, and no JSON: {error.msg}") from None
    if value in (None, ""):
        return []
    if not isinstance(value, list):
        raise ValueError(f"{name} is no list but {_kind(value)}")
    return value


def _message(given: Any, at: str) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise ValueError(f"{at} is no object but {_kind(given)}")
    message = {key: value for key, value in given.items() if value is not None}
    role = message.get("role")
    if role not in ROLES:
        raise ValueError(f"{at}.role is {role!r}; there are {', '.join(ROLES)}")
    message["content"] = _text(message.get("content", ""), f"{at}.content")
    calls = message.pop("tool_calls", [])
    if not isinstance(calls, list):
        raise ValueError(f"{at}.tool_calls is no list but {_kind(calls)}")
    if calls and role != "assistant":
        raise ValueError(f"{at}.tool_calls stand in a message of the role {role}")
    if calls:
        message["tool_calls"] = [
            _call(call, f"{at}.tool_calls.{place}") for place, call in enumerate(calls)
        ]
    return message


def _text(content: Any, at: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise ValueError(f"{at} is neither a text nor a list of its parts but {_kind(content)}")
    for part in content:
        if not isinstance(part, Mapping) or not isinstance(part.get("text"), str):
            raise ValueError(f"{at} has a part that is no text")
    return "".join(part["text"] for part in content)


def _call(given: Any, at: str) -> dict[str, Any]:
    function = given.get("function", given) if isinstance(given, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise ValueError(f"{at} names no function")
    arguments = function.get("arguments")
    as_text = isinstance(arguments, str)
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except json.JSONDecodeError as error:
            raise ValueError(f"{at}.function.arguments are no JSON: {error.msg}") from None
    arguments = {} if arguments is None else arguments
    if not isinstance(arguments, Mapping):
        raise ValueError(f"{at}.function.arguments are no object but {_kind(arguments)}")
    # Among objects a table adds null for what other rows have; in a text it was written.
    filled = dict(arguments) if as_text else _without_nulls(arguments)
    call = {"type": "function", "function": {"name": function["name"], "arguments": filled}}
    return {"id": given["id"], **call} if given.get("id") else call


def _tool(given: Any, at: str) -> dict[str, Any]:
    function = given.get("function") if isinstance(given, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise ValueError(f"{at} is no function with a name, as OpenAI's interface has tools")
    return _without_nulls(dict(given))


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else "null")
