"""Changes to AgentScope: what it makes of tools again and again is remembered.

It is handed out as copies, since AgentScope and its users change what they get.
"""

import functools
import inspect
import json
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from rlagent.upstream.patch import Relies, patch

LIBRARY = "agentscope"
VERSIONS = ">=1.0.21,<2"
SOURCE = "https://github.com/agentscope-ai/agentscope/blob/v1.0.21/src/agentscope"

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


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/tool/_toolkit.py#L409",
    "AgentScope remembers the schema of a tool function",
    [
        Relies("agentscope.tool._toolkit:_parse_tool_function"),
        Relies(
            "agentscope._utils._common:_parse_tool_function",
            "tool_func, include_long_description, include_var_positional, include_var_keyword",
        ),
        Relies(
            "agentscope.tool._toolkit:Toolkit.register_tool_function",
            None,
            "_parse_tool_function(",
        ),
    ],
)
def remember_tool_schemas() -> None:
    """Make the schema of a tool once per process instead of once per rollout.

    AgentScope reads a tool's docstring and signature when it is registered. An agent is made again
    for every rollout, but its tools are the same functions.
    """
    from agentscope.tool import _toolkit

    parse: Any = _toolkit._parse_tool_function
    if not hasattr(parse, "__wrapped__"):
        _toolkit._parse_tool_function = remembering(parse)


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/tool/_types.py#L63",
    "AgentScope remembers the merged schema of a tool and a structured answer",
    [
        Relies("agentscope.tool._types:RegisteredToolFunction.extended_json_schema", "self"),
        Relies("agentscope.tool._types:RegisteredToolFunction.extended_model"),
        Relies("agentscope.tool._types:RegisteredToolFunction.json_schema"),
        Relies("agentscope.tool._toolkit:Toolkit", None, ".extended_json_schema"),
    ],
)
def remember_merged_schemas() -> None:
    """Merge the schema of the structured answer into `generate_response` once per process.

    AgentScope does it at every call of the model.
    """
    from agentscope.tool._types import RegisteredToolFunction

    getter = RegisteredToolFunction.extended_json_schema
    merge: Any = getter.fget  # type: ignore[attr-defined]
    if not hasattr(merge, "__wrapped__"):
        merged = property(remembering_merged(merge))
        RegisteredToolFunction.extended_json_schema = merged  # type: ignore[method-assign,assignment]


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/agent/_agent_base.py#L455",
    "AgentScope hands the calling agent to the model",
    [
        Relies("agentscope.agent:AgentBase"),
        Relies("agentscope.agent._agent_base:AgentBase.__call__", None, "self.reply("),
    ],
)
def replying_agent() -> str | None:
    """The name of the agent whose reply awaits the present call, the innermost one.

    AgentScope does not hand it to the model. None outside of agents, and in a task of its own.
    """
    from agentscope.agent import AgentBase

    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_name == "reply":
            agent = frame.f_locals.get("self")
            if isinstance(agent, AgentBase):
                return getattr(agent, "name", None)
        frame = frame.f_back
    return None
