"""What the engine is sent for a tool choice and for tools."""

import asyncio
import json
from types import SimpleNamespace

import pytest
from transformers import AutoTokenizer

from rlagent.base.paths import resolve_path
from rlagent.trinity.recording import RecordingClient

NAMED = {"type": "function", "function": {"name": "calculator"}}


class _Client:
    model_path = "model"
    # No shortcut past openai's client: calls arrive at `post`.
    plain = None

    def __init__(self):
        self.bodies = []

    async def post(self, path, *, cast_to, body):
        self.bodies.append(body)
        return None


def _sent(free, **request):
    client = _Client()
    recorder = SimpleNamespace(model_seconds=0.0, record=lambda request, response, agent: None)
    recording = RecordingClient(client, recorder, {}, free_tool_choice=free)
    asyncio.run(recording.chat.completions.create(messages=[], **request))
    return client.bodies[0]


@pytest.mark.parametrize("choice", ["auto", "none", NAMED])
def test_only_a_required_call_is_left_to_the_model(choice):
    assert _sent(True, tool_choice=choice)["tool_choice"] == choice
    assert _sent(True, tool_choice="required")["tool_choice"] == "auto"
    assert _sent(False, tool_choice="required")["tool_choice"] == "required"


def test_the_tiny_model_sees_tools_alike_in_whatever_order_their_keys_come():
    tokenizer = AutoTokenizer.from_pretrained(resolve_path("builtin:tiny"))
    function = {"name": "f", "parameters": {"type": "object"}, "description": "d"}
    # vLLM reads a tool into a class of its own, and writes its fields in their order.
    vllm = {key: function[key] for key in ("name", "description", "parameters")}
    messages = [{"role": "user", "content": "1 + 1?"}]
    texts = [
        tokenizer.apply_chat_template(
            messages, tools=[{"type": "function", "function": tool}], tokenize=False
        )
        for tool in (function, vllm)
    ]
    assert texts[0] == texts[1]
    # The text that the model was trained on.
    written = json.dumps({"type": "function", "function": function})
    assert f"<tools>\n{written}\n</tools>" in texts[0]
