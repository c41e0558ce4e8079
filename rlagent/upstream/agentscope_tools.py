"""Tool schemas made once per process instead of once per rollout.

AgentScope reads a tool's docstring and signature when it is registered, and merges the schema of
the structured answer into `generate_response` at every call of the model. An agent is made anew
for every rollout, but its tools are the same functions: what is made of them is remembered here,
and handed out as copies, since AgentScope and its users change what they get.
"""

import functools
import json
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from agentscope.tool import _toolkit
from agentscope.tool._types import RegisteredToolFunction

KEPT = 256
"""Merged schemas remembered."""


def remembering(parse: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """A function that makes a tool's schema, with its results remembered for as long as the tool
    function lives and keeps its docstring."""
    known: weakref.WeakKeyDictionary[Any, dict[str, str]] = weakref.WeakKeyDictionary()

    @functools.wraps(parse)
    def parsed(tool_func: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        # A bound method is a new object each time; its schema is that of its function.
        function = getattr(tool_func, "__func__", tool_func)
        key = repr((tool_func.__doc__, args, sorted(kwargs.items())))
        try:
            texts = known.setdefault(function, {})
        except TypeError:
            # It cannot be referred to weakly, or is not hashable.
            return parse(tool_func, *args, **kwargs)
        if key not in texts:
            schema = parse(tool_func, *args, **kwargs)
            text = json.dumps(schema, default=_no_json)
            if json.loads(text) != schema:
                return schema
            texts[key] = text
        return json.loads(texts[key])

    return parsed


def remembering_merged(merge: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    """The getter of a registered tool's extended schema, with its results remembered."""
    known: OrderedDict[tuple[type, str], str] = OrderedDict()

    @functools.wraps(merge)
    def merged(tool: Any) -> dict[str, Any]:
        if tool.extended_model is None:
            return merge(tool)
        key = (tool.extended_model, json.dumps(tool.json_schema, default=_no_json))
        text = known.get(key)
        if text is None:
            schema = merge(tool)
            text = json.dumps(schema, default=_no_json)
            if json.loads(text) != schema:
                return schema
            if len(known) >= KEPT:
                known.popitem(last=False)
            known[key] = text
        return json.loads(text)

    return merged


def _no_json(value: Any) -> str:
    # Differs from every value, so that the result is not remembered.
    return f"{type(value)} {id(value)}"


def install() -> None:
    """Have AgentScope of this process use both."""
    parse: Any = getattr(_toolkit, "_parse_tool_function", None)
    if parse is not None and not hasattr(parse, "__wrapped__"):
        _toolkit._parse_tool_function = remembering(parse)
    getter = RegisteredToolFunction.extended_json_schema
    merge: Any = getattr(getter, "fget", None)
    if merge is not None and not hasattr(merge, "__wrapped__"):
        merged = property(remembering_merged(merge))
        RegisteredToolFunction.extended_json_schema = merged  # type: ignore[method-assign,assignment]
