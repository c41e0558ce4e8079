"""What workflows with a loop of their own share: a model's answer, and the calls of tools in it."""

import json
from collections.abc import Sequence
from typing import Any


def said(content: Sequence[Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
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
