"""Rendering conversations and reading tool calls, without a tokenizer."""

import json

import pytest

from rlagent.backends.embedded.engine.chat import (
    ChatError,
    assistant_message,
    normalise,
    parse_calls,
    plain_content,
    split_reasoning,
    with_tools_in_system,
)

CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": "x"}}\n</tool_call>'


def test_parts_of_a_message_become_one_text():
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    assert plain_content(parts) == "one two"
    assert plain_content(None) == ""


def test_an_image_is_refused_by_name():
    with pytest.raises(ChatError, match="image_url"):
        plain_content([{"type": "image_url", "image_url": {"url": "x"}}])


def test_arguments_given_as_text_become_an_object_for_the_template():
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    message = normalise([{"role": "assistant", "content": None, "tool_calls": [call]}])[0]
    assert message["tool_calls"][0]["function"]["arguments"] == {"a": 1}
    assert message["content"] == ""
    assert call["function"]["arguments"] == '{"a": 1}', "the request itself is left alone"


def test_arguments_that_are_no_object_stay_the_text_that_they_are():
    call = {"function": {"name": "add", "arguments": "{a: 1"}}
    message = normalise([{"role": "assistant", "tool_calls": [call]}])[0]
    assert message["tool_calls"][0]["function"]["arguments"] == "{a: 1"


@pytest.mark.parametrize("message", [{}, {"content": "x"}, "hello", {"role": 3}])
def test_a_message_without_a_role_is_refused(message):
    with pytest.raises(ChatError, match="role"):
        normalise([message])


def test_a_call_is_read_with_its_arguments_as_json_text():
    content, calls = parse_calls(CALL, ["add"])
    assert content == ""
    assert calls[0].name == "add"
    assert json.loads(calls[0].arguments) == {"a": 1, "b": "x"}


def test_several_calls_and_the_text_around_them_are_kept_apart():
    content, calls = parse_calls(f"Let me see.\n{CALL}\n{CALL}", ["add"])
    assert content == "Let me see."
    assert len(calls) == 2


def test_a_string_may_contain_the_closing_tag():
    body = json.dumps({"name": "add", "arguments": {"a": "x</tool_call>{"}})
    _, calls = parse_calls(f"<tool_call>\n{body}\n</tool_call>", ["add"])
    assert json.loads(calls[0].arguments) == {"a": "x</tool_call>{"}


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>\n{"name": "add", "arguments": {"a": 1}\n</tool_call>',
        '<tool_call>\n{"name": "add", "arguments": {"a": 1}}',
        '<tool_call>\n{"name": "other", "arguments": {}}\n</tool_call>',
        '<tool_call>\n{"name": "add", "arguments": [1]}\n</tool_call>',
        "<tool_call>\nadd(1)\n</tool_call>",
        f"{CALL}\n<tool_call>\n{{",
        "no call at all",
    ],
)
def test_malformed_calls_stay_content(text):
    assert parse_calls(text, ["add"]) == (text, [])


def test_calls_change_the_finish_reason_and_empty_the_content():
    message, reason = assistant_message(CALL, ["add"], "stop", read_calls=True, reasoning=False)
    assert reason == "tool_calls"
    assert message["content"] is None
    call = message["tool_calls"][0]
    assert call["type"] == "function"
    assert call["id"].startswith("call_")


def test_calls_are_not_looked_for_when_none_may_be_made():
    message, reason = assistant_message(CALL, ["add"], "stop", read_calls=False, reasoning=False)
    assert reason == "stop"
    assert message["content"] == CALL


def test_reasoning_is_split_off_with_and_without_its_opening_tag():
    assert split_reasoning("<think>\nwhy\n</think>\n\nso") == ("why", "so")
    assert split_reasoning("why\n</think>\nso") == ("why", "so")
    assert split_reasoning("so") == (None, "so")


def test_tools_calls_and_results_become_text_for_templates_that_know_none():
    call = {"function": {"name": "add", "arguments": {"a": 1}}}
    messages = normalise(
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "1 + 1?"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": "2", "tool_call_id": "1"},
        ]
    )
    tools = [{"type": "function", "function": {"name": "add", "parameters": {}}}]
    system, _, assistant, result = with_tools_in_system(messages, tools)
    assert system["content"].startswith("Be brief.")
    assert '"name": "add"' in system["content"]
    assert parse_calls(assistant["content"], ["add"])[1][0].name == "add"
    assert result == {
        "role": "user",
        "content": "<tool_response>\n2\n</tool_response>",
        "tool_call_id": "1",
    }
