"""Servers of OpenEnv: any by its URL, and what a wrong one costs."""

import asyncio
import contextlib
import json

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from websockets.asyncio.server import serve

from rlagent.environments import (
    EnvironmentDiedError,
    EnvironmentFailedError,
    EnvironmentGarbageError,
    EnvironmentTimeoutError,
    Step,
    opened,
)
from rlagent.environments.openenv import OpenEnv, _for_a_tool, action_schema, place_of

pytest.importorskip("openenv", reason="pip install --no-deps openenv-core==0.3.0")

SEEN = {"observation": {"hint": "higher"}, "reward": 0.5, "done": True}


@contextlib.asynccontextmanager
async def server(*answers):
    """A server that gives these answers, one a message, then nothing more; yields its URL."""
    asked = []

    async def handle(connection):
        left = list(answers)
        async for message in connection:
            asked.append(json.loads(message))
            if not left:
                continue
            if left[0] is None:
                return
            answer = left.pop(0)
            await connection.send(
                answer if isinstance(answer, (str, bytes)) else json.dumps(answer)
            )

    async with serve(handle, "127.0.0.1", 0) as running:
        yield f"http://127.0.0.1:{running.sockets[0].getsockname()[1]}/secret", asked


def _acted(*answers, seconds=30):
    async def scenario():
        async with (
            server(*answers) as (url, asked),
            opened(OpenEnv, args={"url": url}, where="loop", call_timeout=seconds) as world,
        ):
            first = await world.reset(seed=3)
            return first, await world.step({"number": 4}), asked

    return asyncio.run(scenario())


def test_the_protocol_of_openenv_is_spoken():
    first, step, asked = _acted(
        {"type": "observation", "data": {"observation": {"hint": "1 to 15"}, "done": False}},
        {"type": "observation", "data": SEEN},
    )
    assert first == Step({"hint": "1 to 15"})
    assert step == Step({"hint": "higher"}, 0.5, True)
    assert asked == [
        {"type": "reset", "data": {"seed": 3}},
        {"type": "step", "data": {"number": 4}},
        {"type": "close"},
    ]


def test_an_action_that_a_server_refuses_is_the_models_mistake():
    refused = {"type": "error", "data": {"message": "Invalid message", "code": "VALIDATION_ERROR"}}
    _, step, _ = _acted({"type": "observation", "data": SEEN}, refused)
    assert step.info == {"refused": True}
    assert not step.done


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        ("<html>", EnvironmentGarbageError, "answered what is none of OpenEnv's"),
        (b"\xff\xfe", EnvironmentGarbageError, "answered what is none of OpenEnv's"),
        ([1, 2], EnvironmentGarbageError, "answered what is none of OpenEnv's"),
        ({"data": {**SEEN, "observation": [1]}}, EnvironmentGarbageError, "without an observation"),
        ({"data": {**SEEN, "done": "yes"}}, EnvironmentGarbageError, "done='yes'"),
        ({"data": {**SEEN, "reward": "much"}}, EnvironmentGarbageError, "the reward 'much'"),
        ({"data": {**SEEN, "observation": {"x": "y" * 200_000}}}, EnvironmentGarbageError, "200,0"),
        (
            {"type": "error", "data": {"message": "no room", "code": "CAPACITY_REACHED"}},
            EnvironmentFailedError,
            "no room",
        ),
        (None, EnvironmentDiedError, "ended the session"),
    ],
    ids=range(9),
)
def test_a_server_that_answers_garbage_or_goes_away_is_named(answer, error, words):
    with pytest.raises(error, match=words) as raised:
        _acted(answer)
    assert "secret" not in str(raised.value)


def test_a_server_that_does_not_answer_costs_its_limit():
    with pytest.raises(EnvironmentTimeoutError, match=r"OpenEnv.reset\(\) took longer than 0.2 s"):
        _acted(seconds=0.2)


def test_a_server_that_is_not_there_is_named():
    async def scenario():
        async with server() as (url, _):
            pass
        async with opened(OpenEnv, args={"url": url}, where="loop") as world:
            await world.reset()

    with pytest.raises(EnvironmentDiedError, match=r"http://127.0.0.1:\d+ is not there: \w+"):
        asyncio.run(scenario())


def test_an_address_that_is_none_is_refused():
    with pytest.raises(ValueError, match="write http://HOST:PORT"):
        place_of("localhost:8000")


@pytest.mark.parametrize(
    ("text", "words"), [("x" * 200_000, "more than 100,000 bytes"), ("[" * 90_000, "without the")]
)
def test_a_schema_that_is_none_or_has_no_end_is_named(text, words):
    async def asked():
        async def answer(_):
            return web.Response(text=text)

        app = web.Application()
        app.router.add_get("/schema", answer)
        async with TestServer(app) as running:
            await action_schema(str(running.make_url("/")))

    with pytest.raises(EnvironmentGarbageError, match=words):
        asyncio.run(asked())


def test_the_models_tool_has_the_fields_of_the_servers_action():
    schema = {
        "title": "Guess",
        "additionalProperties": False,
        "properties": {
            "metadata": {"type": "object"},
            "number": {"title": "Number", "type": "integer", "minimum": 1},
        },
        "required": ["number"],
    }
    assert _for_a_tool(schema) == {
        "type": "object",
        "properties": {"number": {"type": "integer", "minimum": 1}},
        "required": ["number"],
    }
