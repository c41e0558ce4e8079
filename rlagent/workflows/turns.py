"""What workflows with a loop of their own share: the turns in an environment, a model's answer, and
the calls of tools in it."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from agentscope.model import ChatModelBase

from rlagent.environments import Session


async def take_turns(
    world: Session,
    model: ChatModelBase,
    messages: list[dict[str, Any]],
    tool: Mapping[str, Any],
    most: int,
    act: Callable[[dict[str, Any]], Awaitable[str]],
) -> tuple[int, int]:
    """Have the model call a tool, until the episode is over or its turns are.

    Args:
        world: The environment.
        model: Is asked for a call in each turn.
        messages: The conversation, which grows.
        tool: As OpenAI describes one.
        most: Turns.
        act: What a call with these arguments comes to, as the model reads it.

    Returns:
        The turns taken, and how many of them called nothing.
    """
    taken = silent = 0
    while taken < most and not world.done:
        reply = await model(messages, tools=[tool], tool_choice="required")
        taken += 1
        message, calls = _said(reply.content)
        messages.append(message)
        if not calls:
            silent += 1
            messages.append({"role": "user", "content": f"Call {tool['function']['name']}."})
        for call in calls:
            answer = await act(call["input"])
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": answer})
    return taken, silent


def _said(content: Sequence[Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """An answer of AgentScope's model as it is sent back, and its calls of tools.

    Args:
        content: Its blocks.

    Returns:
        A message as OpenAI has it, and of each call `id`, `name` and `input`, an object whatever
        the model wrote.
    """
    text = "".join(block["text"] for block in content if block["type"] == "text")
    calls = []
    for block in content:
        if block["type"] == "tool_use":
            given = block.get("input")
            given = given if isinstance(given, dict) else {}
            calls.append({"id": block["id"], "name": block["name"], "input": given})
    message: dict[str, Any] = {"role": "assistant", "content": text or None}
    if calls:
        message["tool_calls"] = [
            {
                "id": call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": json.dumps(call["input"])},
            }
            for call in calls
        ]
    return message, calls
