"""What a chat completion request may say."""

import subprocess
import sys

import pytest

from rlagent.backends.embedded.engine.protocol import BadRequestError, Defaults, parse_chat_request

TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
HELLO = [{"role": "user", "content": "hello"}]


def parse(**keys):
    return parse_chat_request({"messages": HELLO, **keys}, Defaults(max_tokens=32))


def test_what_is_left_out_comes_from_the_defaults():
    chat = parse()
    assert chat.max_tokens == 32
    assert chat.params.temperature == 1.0
    assert chat.tool_choice == "none"
    assert chat.n == 1


def test_the_newer_name_of_max_tokens_wins():
    assert parse(max_tokens=5, max_completion_tokens=7).max_tokens == 7


def test_tools_without_a_choice_are_called_freely():
    assert parse(tools=[TOOL]).tool_choice == "auto"
    assert parse(tools=[TOOL], tool_choice="none").tool_choice == "none"


def test_a_named_function_is_required_alone():
    chat = parse(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "add"}})
    assert (chat.tool_choice, chat.only) == ("required", "add")


def test_a_schema_or_any_json_may_be_asked_for():
    schema = {"type": "object", "properties": {}}
    asked = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert parse(response_format=asked).schema == schema
    assert parse(response_format={"type": "json_object"}).json_output
    assert not parse(response_format={"type": "text"}).json_output


def test_stop_is_one_text_or_several():
    assert parse(stop="x").params.stop == ("x",)
    assert parse(stop=["x", "y"]).params.stop == ("x", "y")


def test_keys_that_mean_nothing_here_are_let_pass():
    assert parse(model="m", user="u", stream=False, presence_penalty=0).n == 1


@pytest.mark.parametrize(
    ("keys", "param"),
    [
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"include_usage": 1}}, "include_usage"),
        ({"logit_bias": {"1": 2}}, "logit_bias"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"repetition_penalty": 1.2}, "repetition_penalty"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_p": 1.5}, "top_p"),
        ({"top_k": 1.5}, "top_k"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": "x"}, "max_completion_tokens"),
        ({"n": 0}, "n"),
        ({"logprobs": 1}, "logprobs"),
        ({"top_logprobs": 99}, "top_logprobs"),
        ({"seed": "x"}, "seed"),
        ({"stop": [""]}, "stop"),
        ({"tools": "add"}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"tools": [TOOL, TOOL]}, "tools"),
        ({"tools": [TOOL], "tool_choice": "sometimes"}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "sub"}}},
            "tool_choice",
        ),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"chat_template_kwargs": [1]}, "chat_template_kwargs"),
    ],
)
def test_what_cannot_be_honoured_is_refused_with_its_key(keys, param):
    with pytest.raises(BadRequestError) as refusal:
        parse(**keys)
    assert refusal.value.param == param


def test_a_body_that_is_no_object_is_refused():
    with pytest.raises(BadRequestError):
        parse_chat_request([1], Defaults())


def test_reading_requests_and_calls_needs_no_torch():
    code = (
        "import sys, rlagent.backends.embedded.engine.protocol\n"
        "import rlagent.backends.embedded.engine.chat\n"
        "sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'aiohttp', 'ray')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
