"""A rollout engine on GPUs answers with the drawn tokens as lists where our record asks so."""

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict
from starlette.background import BackgroundTask

from rlagent.upstream.vllm import load_counted_in_the_loop, token_lists

DRAWN = [7, 9]


class Open(BaseModel):
    """As vLLM's models of requests and answers are: further fields are kept."""

    model_config = ConfigDict(extra="allow")


class Content(Open):
    token: str
    logprob: float


class Logprobs(Open):
    content: list[Content] = []


class Choice(Open):
    logprobs: Logprobs | None = None


class Answer(Open):
    choices: list[Choice]


class Request(Open):
    stream: bool = False
    logprobs: bool | None = False
    top_logprobs: int | None = 0


class Tokenizer:
    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def decode(self, tokens: list[int]) -> str:
        self.asked.append(tokens)
        return f"<{tokens[0]}>"


@pytest.fixture
def server() -> Any:
    """What vLLM's server does for an answer of two tokens, the second with a chance of 0."""
    tokenizer = Tokenizer()
    found = [{7: SimpleNamespace(logprob=-0.5)}, {9: _never()}]

    class Chat:
        async def create_chat_completion(self, request: Any, raw_request: Any = None) -> Any:
            if request.stream:
                return "a stream"
            if not request.logprobs or request.top_logprobs is None:
                return Answer(choices=[Choice()])
            logprobs = self._create_chat_logprobs(
                token_ids=DRAWN,
                top_logprobs=found,
                num_output_top_logprobs=request.top_logprobs,
                tokenizer=tokenizer,
                return_as_token_id=None,
            )
            return Answer(choices=[Choice(logprobs=logprobs)])

        def _create_chat_logprobs(
            self,
            token_ids: Any,
            top_logprobs: Any,
            tokenizer: Any,
            num_output_top_logprobs: int | None = None,
            return_as_token_id: bool | None = None,
        ) -> Any:
            content = [Content(token=f"<{token}>", logprob=-1.0) for token in token_ids]
            return Logprobs(content=content)

    module = SimpleNamespace(convert_ids_list_to_tokens=None)
    token_lists.change(Chat, Logprobs.model_construct, module)
    return SimpleNamespace(chat=Chat(), module=module, tokenizer=tokenizer, found=found)


def _never() -> SimpleNamespace:
    return SimpleNamespace(logprob=float("-inf"))


def answered(server: Any, **fields: Any) -> Any:
    answer = asyncio.run(server.chat.create_chat_completion(Request(**fields)))
    return answer if isinstance(answer, str) else answer.model_dump()["choices"][0]


def test_who_asks_for_lists_gets_lists_alone(server: Any) -> None:
    assert answered(server, return_token_logprobs=True) == {
        "logprobs": None,
        "token_texts": ["<7>", "<9>"],
        "token_logprobs": [-0.5, -9999.0],
    }


@pytest.mark.parametrize("asked", [{"return_token_logprobs": False}, {}])
def test_who_does_not_ask_gets_what_vllm_answers(server: Any, asked: dict[str, bool]) -> None:
    assert answered(server, **asked) == {"logprobs": None}
    content = answered(server, logprobs=True, **asked)["logprobs"]["content"]
    assert [each["logprob"] for each in content] == [-1.0, -1.0]


def test_who_asks_in_openais_form_too_gets_both(server: Any) -> None:
    found = answered(server, logprobs=True, return_token_logprobs=True)
    assert [each["token"] for each in found["logprobs"]["content"]] == ["<7>", "<9>"]
    assert found["token_texts"] == ["<7>", "<9>"]
    assert found["token_logprobs"] == [-1.0, -1.0]


def test_lists_for_one_are_none_for_another_at_the_same_time(server: Any) -> None:
    async def both() -> list[Any]:
        asks = (Request(return_token_logprobs=True), Request(logprobs=True))
        return await asyncio.gather(*map(server.chat.create_chat_completion, asks))

    ours, theirs = (answer.choices[0] for answer in asyncio.run(both()))
    assert ours.logprobs is None
    assert len(theirs.logprobs.content) == 2


def test_lists_for_one_are_none_for_the_next(server: Any) -> None:
    async def one_after_the_other() -> list[Any]:
        asks = (Request(return_token_logprobs=True), Request(logprobs=True))
        return [await server.chat.create_chat_completion(each) for each in asks]

    ours, theirs = (answer.choices[0] for answer in asyncio.run(one_after_the_other()))
    assert ours.logprobs is None
    assert len(theirs.logprobs.content) == 2


def test_no_number_of_alternatives_is_none(server: Any) -> None:
    asked = {"return_token_logprobs": True, "top_logprobs": None}
    assert answered(server, **asked)["token_logprobs"] == [-0.5, -9999.0]


def test_a_token_whose_log_probability_is_not_there_has_the_least(server: Any) -> None:
    server.found[:] = [None, {}]
    assert answered(server, return_token_logprobs=True)["token_logprobs"] == [-9999.0, -9999.0]


def test_a_stream_and_an_error_are_left_as_they_are(server: Any) -> None:
    assert answered(server, stream=True, return_token_logprobs=True) == "a stream"

    class Refusing:
        async def create_chat_completion(self, request: Any, raw_request: Any = None) -> Any:
            return SimpleNamespace(error="no such model")

        def _create_chat_logprobs(self) -> None: ...

    token_lists.change(Refusing, Logprobs.model_construct, SimpleNamespace())
    answer = asyncio.run(Refusing().create_chat_completion(Request(return_token_logprobs=True)))
    assert answer.error == "no such model"


def test_the_tokenizer_is_asked_once_for_each_token(server: Any) -> None:
    texts = server.module.convert_ids_list_to_tokens
    assert texts(server.tokenizer, [3, 4, 3]) == ["<3>", "<4>", "<3>"]
    assert texts(server.tokenizer, [4]) == ["<4>"]
    assert server.tokenizer.asked == [[3], [4]]


def test_an_answered_request_is_counted_without_a_thread() -> None:
    threads = []
    utils = SimpleNamespace(decrement_server_load=lambda _: threads.append(threading.get_ident()))
    load_counted_in_the_loop.change(utils)
    asyncio.run(BackgroundTask(utils.decrement_server_load, "request")())
    assert threads == [threading.get_ident()]
