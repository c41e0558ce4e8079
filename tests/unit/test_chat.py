"""A chat: what is sent, what of it stays, which tools run and who is asked first."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import openai
import pytest
from rich.console import Console

from rlagent.base.errors import ConfigError
from rlagent.serving.chat import MOST_ROUNDS, REFUSED, Chat, Sampling
from rlagent.serving.screen import call_text
from rlagent.serving.tools import ToolBox


def add(a: int, b: int = 1) -> int:
    """Add two numbers.

    Args:
        a: The first.
        b: The second.
    """
    return a + b


async def shout(text: str) -> str:
    """Say it loudly."""
    return text.upper()


def fail() -> None:
    """Fail."""
    raise ValueError("no luck")


def leave() -> None:
    """End the process."""
    raise SystemExit(3)


HERE = f"{__file__}"


def box(*names: str) -> ToolBox:
    return ToolBox([f"{HERE}:{name}" for name in names])


class Endpoint:
    """Stands where the openai client is: answers with the given deltas, one answer per request."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []
        self.chat = SimpleNamespace(completions=SimpleNamespace(create=self.create))

    def create(self, **request: Any) -> Any:
        self.asked.append(json.loads(json.dumps(request)))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return Stream(answer)


class Stream:
    def __init__(self, deltas: list[Any]) -> None:
        self.deltas = deltas

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __iter__(self) -> Iterator[Any]:
        for delta in self.deltas:
            if delta is KeyboardInterrupt:
                raise KeyboardInterrupt
            yield SimpleNamespace(choices=[SimpleNamespace(delta=delta)])
        yield SimpleNamespace(choices=[])


def text(*pieces: str) -> list[Any]:
    return [SimpleNamespace(content=piece, tool_calls=None) for piece in pieces]


def calling(name: str, *arguments: str) -> list[Any]:
    """A call whose arguments come in pieces."""
    parts = [
        SimpleNamespace(
            index=0,
            id="call_1" if first else None,
            function=SimpleNamespace(name=name if first else None, arguments=piece),
        )
        for first, piece in zip([True, *[False] * len(arguments)], arguments, strict=False)
    ]
    return [SimpleNamespace(content=None, tool_calls=[part]) for part in parts]


def chat_with(endpoint: Endpoint, tools: ToolBox | None = None, allow: bool = True, **given: Any):
    console = Console(file=io.StringIO(), width=200, highlight=False)
    chat = Chat(endpoint, "mine", console, tools or ToolBox([]), lambda _: allow, **given)  # type: ignore[arg-type]
    return chat, lambda: console.file.getvalue()  # type: ignore[attr-defined]


def refusal() -> openai.BadRequestError:
    response = httpx.Response(400, request=httpx.Request("POST", "http://127.0.0.1"))
    return openai.BadRequestError("400", response=response, body={"message": "too long"})


def test_answers_and_questions_are_sent_again_with_the_system_prompt() -> None:
    endpoint = Endpoint(text("Hel", "lo."), text("Again."))
    chat, shown = chat_with(endpoint, system="Be kind.")
    assert chat.take("Hi")
    assert chat.take("And?")
    assert [m["content"] for m in endpoint.asked[1]["messages"]] == [
        "Be kind.",
        "Hi",
        "Hello.",
        "And?",
    ]
    assert "Hello." in shown()


def test_a_reset_forgets_and_quit_ends() -> None:
    endpoint = Endpoint(text("a"), text("b"))
    chat, _ = chat_with(endpoint, system="Be kind.")
    chat.take("one")
    assert chat.take("/reset")
    chat.take("two")
    assert [m["content"] for m in endpoint.asked[1]["messages"]] == ["Be kind.", "two"]
    assert not chat.take("/quit")


def test_sampling_is_the_runs_unless_it_is_set() -> None:
    endpoint = Endpoint(text("a"), text("b"))
    chat, shown = chat_with(endpoint)
    chat.take("one")
    chat.take("/set temperature 0.5")
    chat.take("/set top_k=4")
    chat.take("/set max_tokens 1.5")
    chat.take("/set heat 1")
    chat.take("two")
    assert not {"temperature", "max_tokens", "extra_body"} & set(endpoint.asked[0])
    assert endpoint.asked[1]["temperature"] == 0.5
    assert endpoint.asked[1]["extra_body"] == {"top_k": 4}
    assert "max_tokens=1.5: a whole number from 1" in shown()
    assert "known are temperature, top_p" in shown()


@pytest.mark.parametrize("value", ["hot", "nan", "-1", "inf"])
def test_a_temperature_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="from 0 to 100"):
        Sampling().change("temperature", value)


def test_a_tool_that_is_allowed_runs_and_its_result_is_sent() -> None:
    endpoint = Endpoint(calling("add", '{"a": 2', ', "b": 3}'), text("5"))
    chat, shown = chat_with(endpoint, box("add"))
    chat.take("What is 2 + 3?")
    assert endpoint.asked[0]["tools"][0]["function"]["name"] == "add"
    assert endpoint.asked[1]["messages"][-1] == {
        "role": "tool", "tool_call_id": "call_1", "content": "5",
    }  # fmt: skip
    assert "add(a=2, b=3) -> 5" in shown()


def test_a_tool_that_is_not_allowed_does_not_run_and_the_model_is_told() -> None:
    endpoint = Endpoint(calling("fail", "{}"), text("Sorry."))
    chat, _ = chat_with(endpoint, box("fail"), allow=False)
    chat.take("Go")
    assert endpoint.asked[1]["messages"][-1]["content"] == REFUSED


def test_calls_without_end_are_ended() -> None:
    endpoint = Endpoint(*[calling("shout", '{"text": "a"}')] * MOST_ROUNDS)
    chat, shown = chat_with(endpoint, box("shout"))
    chat.take("Go")
    assert endpoint.answers == []
    assert "say something to go on" in shown()


@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("add", '{"a": 2}', "3"),
        ("shout", '{"text": "hm"}', "HM"),
        ("fail", "{}", "Error: ValueError: no luck"),
        ("leave", "{}", "Error: SystemExit"),
        ("add", "[1]", "Error: the arguments are no JSON object"),
        ("add", "{", "Error: "),
        ("other", "{}", "Error: there is no tool other; there are add, shout, fail, leave"),
    ],
)
def test_whatever_a_tool_does_becomes_text(name: str, arguments: str, result: str) -> None:
    assert box("add", "shout", "fail", "leave").call(name, arguments).startswith(result)


def test_tools_that_are_not_there_are_all_named() -> None:
    with pytest.raises(ConfigError) as raised:
        ToolBox(["nowhere:one", f"{HERE}:nothing"])
    assert [problem.value for problem in raised.value.problems] == [
        "nowhere:one",
        f"{HERE}:nothing",
    ]


def test_what_is_refused_is_not_kept() -> None:
    chat, shown = chat_with(Endpoint(refusal()))
    chat.take("long")
    assert chat.messages == []
    assert "too long; nothing of this is kept" in shown()


def test_an_interrupted_answer_leaves_a_conversation_that_can_go_on() -> None:
    endpoint = Endpoint([*text("Once"), KeyboardInterrupt], text("b"))
    chat, shown = chat_with(endpoint)
    chat.take("Tell")
    assert chat.messages == []
    assert "interrupted" in shown()
    chat.take("again")
    assert [m["content"] for m in endpoint.asked[1]["messages"]] == ["again"]


def test_a_conversation_is_saved_as_a_request(tmp_path: Path) -> None:
    chat, shown = chat_with(Endpoint(text("a")), system="Be kind.", sampling=Sampling(seed=3))
    chat.take("one")
    chat.take(f"/save {tmp_path}/mine.json")
    saved = json.loads((tmp_path / "mine.json").read_text())
    assert saved["seed"] == 3
    assert [m["role"] for m in saved["messages"]] == ["system", "user", "assistant"]
    chat.take(f"/save {tmp_path}/no/mine.json")
    assert "could not be written" in shown()


def test_what_the_model_writes_does_nothing_to_the_terminal() -> None:
    hidden = json.dumps({"a": 1, "\x1b[2K\rrun safe": 2})
    asked: list[str] = []
    chat, shown = chat_with(
        Endpoint(calling("add", hidden), text("\x1b]52;c;c3Bvb2Y=\x07", "done")), box("add")
    )
    chat.allow = lambda call: bool(asked.append(call))
    chat.say("Hi")
    for said in (*asked, shown()):
        assert "\x1b" not in said
        assert "\r" not in said
    assert call_text({"function": {"name": "add", "arguments": "[" * 5000}}).startswith("add('[")
    assert call_text({"function": {"name": "a()\nrun b", "arguments": "{}"}}) == "'a()\\nrun b'()"


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thoughts_are_shown_whatever_the_engine_calls_them(name: str) -> None:
    thought = SimpleNamespace(content=None, tool_calls=None, **{name: "Let me see."})
    chat, shown = chat_with(Endpoint([thought, *text("4")]))
    chat.say("2 + 2?")
    assert "Let me see.\n4" in shown()
    assert chat.messages[-1]["content"] == "4"
