"""What of a growing text may be said already: nothing that turns out to be something else."""

import pytest

from rlagent.backends.embedded.engine.chat import assistant_message
from rlagent.backends.embedded.engine.stream import TextStream

CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'


def streamed(text: str, stops: tuple[str, ...] = (), calls: bool = True, reasoning: bool = False):
    """The pieces of a text that grows by a character, and the message that it is in the end."""
    stream = TextStream(stops, calls, reasoning)
    deltas = [stream.grow(text[:size]) for size in range(1, len(text) + 1)]
    message, _ = assistant_message(text, ["add"], "stop", calls, reasoning)
    deltas.append(stream.end(message))
    said = {
        name: "".join(delta.get(name, "") for delta in deltas)
        for name in ("content", "reasoning_content")
    }
    made = [call for delta in deltas for call in delta.get("tool_calls", [])]
    return said, made, message, deltas


@pytest.mark.parametrize(
    "text",
    [
        "Hello there.",
        "  spaced  ",
        "a < b, <tool, <tool_cal",
        f"First {CALL} then",
        f"\n{CALL}\n{CALL}",
        "<tool_call>no JSON</tool_call> after",
        "",
    ],
)
def test_the_pieces_make_the_message(text: str) -> None:
    said, made, message, _ = streamed(text)
    content = message["content"] or ""
    assert said["content"].strip() == content.strip()
    if not message.get("tool_calls"):
        assert said["content"] == content
    assert [call["function"] for call in made] == [
        call["function"] for call in message.get("tool_calls", [])
    ]
    assert [call["index"] for call in made] == list(range(len(made)))


def test_text_is_said_as_it_grows() -> None:
    _, _, _, deltas = streamed("Hello there.", calls=False)
    assert [delta["content"] for delta in deltas if delta] == list("Hello there.")


def test_what_may_begin_a_stop_text_is_held_back() -> None:
    stream = TextStream(["STOP"], False, False)
    assert stream.grow("go ST") == {"content": "go "}
    assert stream.grow("go STAY") == {"content": "STAY"}


def test_a_part_of_a_character_is_held_back() -> None:
    stream = TextStream([], False, False)
    assert stream.grow("caf\N{REPLACEMENT CHARACTER}") == {"content": "caf"}
    assert stream.grow("café") == {"content": "é"}


@pytest.mark.parametrize("text", ["<think>\nhm, so\n</think>\n\n42", "hm</think>42", "plain"])
def test_thoughts_are_said_apart(text: str) -> None:
    said, _, message, _ = streamed(text, reasoning=True)
    if message["reasoning_content"] is None:
        # Whether a thought would end was not known while it was said.
        assert said == {"content": "", "reasoning_content": text}
    else:
        assert said["reasoning_content"] == message["reasoning_content"]
        assert said["content"] == message["content"]
