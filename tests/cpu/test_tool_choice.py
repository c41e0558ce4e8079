"""What the engine is sent for a tool choice and for tools."""

import asyncio
from types import SimpleNamespace

import pytest

from rlagent.trinity.recording import RecordingClient, in_one_order

NAMED = {"type": "function", "function": {"name": "calculator"}}


class _Client:
    model_path = "model"

    def __init__(self):
        self.bodies = []

    async def post(self, path, *, cast_to, body):
        self.bodies.append(body)
        return None


def _sent(free, **request):
    client = _Client()
    recorder = SimpleNamespace(record=lambda request, response: None)
    recording = RecordingClient(client, recorder, {}, free_tool_choice=free)
    asyncio.run(recording.chat.completions.create(messages=[], **request))
    return client.bodies[0]


@pytest.mark.parametrize("choice", ["auto", "none", NAMED])
def test_only_a_required_call_is_left_to_the_model(choice):
    assert _sent(True, tool_choice=choice)["tool_choice"] == choice
    assert _sent(True, tool_choice="required")["tool_choice"] == "auto"
    assert _sent(False, tool_choice="required")["tool_choice"] == "required"


def test_tools_reach_every_engine_in_the_order_in_which_vllm_writes_them():
    function = {"parameters": {}, "strict": True, "name": "f", "description": "d"}
    (tool,) = in_one_order([{"type": "function", "function": function}])
    assert list(tool["function"]) == ["name", "description", "parameters", "strict"]
    assert tool["function"] == function
