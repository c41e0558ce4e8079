"""A scripted teacher where a model's client would be, and the conversations that come of it.

The agent itself builds every request, runs every tool and asks for every follow-up, so that what
is learnt from such a conversation is what the agent sends in training.
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from agentscope.model import OpenAIChatModel
from openai.types.chat import ChatCompletion

from rlagent.upstream import agentscope

Call = tuple[str, dict[str, Any]]
"""A tool call: function name and arguments."""

Agent = Callable[[dict, Any], Awaitable[Any]]


@dataclass(frozen=True)
class Transcript:
    """One whole conversation in OpenAI's format, the last reply included."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]


class TeacherClient:
    """An OpenAI client that plays the given calls, one a reply, and records the last exchange.

    Args:
        calls: Of an agent with structured output, `generate_response` being the last.
        texts: What is said beside each call; None: nothing is said beside any.
    """

    def __init__(self, calls: list[Call], texts: Sequence[str] | None = None) -> None:
        self._calls = list(calls)
        self._texts = list(texts or [""] * len(calls))
        self._result = calls[-1][1].get("result", "")
        self.chat = SimpleNamespace(completions=SimpleNamespace(create=self._create))
        self.transcript: Transcript | None = None

    async def _create(self, messages: list, tools: list, tool_choice: str, **_: Any) -> Any:
        reply: dict[str, Any] = {"role": "assistant", "content": None}
        if tool_choice == "none":
            reply["content"] = f"The answer is {self._result}."
        else:
            name, arguments = self._calls.pop(0)
            reply["content"] = self._texts.pop(0) or None
            function = {"name": name, "arguments": json.dumps(arguments)}
            reply["tool_calls"] = [
                {"id": f"call_{len(self._calls)}", "type": "function", "function": function}
            ]
        self.transcript = Transcript([*messages, reply], tools)
        choice = {"index": 0, "finish_reason": "stop", "message": reply}
        usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        return ChatCompletion.model_validate(
            {"id": "teacher", "object": "chat.completion", "created": 0, "model": "teacher",
             "choices": [choice], "usage": usage}
        )  # fmt: skip


def teacher_model() -> Any:
    """The model that agents get; its `client` is set for each conversation."""
    # Otherwise every conversation makes the same schemas again.
    agentscope.remember_tool_schemas.apply()
    agentscope.remember_merged_schemas.apply()
    # One for all: making the client that the teacher replaces takes longer than a conversation.
    return OpenAIChatModel("teacher", api_key="none", stream=False)


async def converse(
    agent: Agent, model: Any, task: dict[str, Any], client: TeacherClient
) -> Transcript:
    """The conversation of an agent about a task, led by the client's calls."""
    model.client = client
    await agent(task, model)
    assert client.transcript is not None
    return client.transcript
