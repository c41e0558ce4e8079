"""`rlagent serve` as programs use it: the openai client, AgentScope, and its ends."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
import random_model
from agentscope.formatter import OpenAIChatFormatter
from agentscope.message import Msg
from agentscope.model import OpenAIChatModel
from trained_run import make_run

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
HELLO = [{"role": "user", "content": "What is 2 + 3?"}]


class Endpoint:
    """`rlagent serve` in a process of its own."""

    def __init__(self, root: Path, run: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rlagent.serve", run, "--root", str(root), "--port", "0",
             *arguments],
            cwd=root, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.said = [self.process.stdout.readline(), self.process.stdout.readline()]
        self.url = self.said[1].split(" answers at ")[1].split()[0]

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs"), 10, 20).path.parent


@pytest.fixture(scope="module")
def endpoint(root: Path) -> Iterator[Endpoint]:
    made = Endpoint(root, "1a2b3c4d")
    yield made
    assert made.end(signal.SIGTERM) == 0


@pytest.fixture
def client(endpoint: Endpoint) -> openai.OpenAI:
    return openai.OpenAI(base_url=endpoint.url, api_key="none", max_retries=0)


def test_the_openai_client_finds_the_best_checkpoint(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["mine-1a2b3c4d-step-20"]


def test_the_openai_client_gets_tools_logprobs_and_streams(client: openai.OpenAI) -> None:
    asked = {"model": "mine", "messages": HELLO, "max_tokens": 60, "seed": 1}
    whole = client.chat.completions.create(**asked, logprobs=True)
    assert len(whole.choices[0].logprobs.content) == whole.usage.completion_tokens
    pieces = list(client.chat.completions.create(**asked, stream=True))
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces)
    assert text == whole.choices[0].message.content
    called = client.chat.completions.create(
        **asked,
        tools=random_model.TOOLS,
        tool_choice={"type": "function", "function": {"name": "look_up"}},
    )
    assert called.choices[0].message.tool_calls[0].function.name == "look_up"


@pytest.mark.parametrize("stream", [False, True])
def test_an_agentscope_script_of_ones_own_uses_it(endpoint: Endpoint, stream: bool) -> None:
    async def talk() -> list:
        model = OpenAIChatModel(
            "mine",
            api_key="none",
            stream=stream,
            client_kwargs={"base_url": endpoint.url},
            generate_kwargs={"max_tokens": 12, "seed": 2},
        )
        messages = await OpenAIChatFormatter().format([Msg("user", "What is 2 + 3?", "user")])
        answer = await model(messages)
        return [piece async for piece in answer] if stream else [answer]

    answers = asyncio.run(talk())
    assert answers[-1].content[0]["text"]
    assert answers[-1].usage.output_tokens > 0


def test_ctrl_c_ends_it_with_130_and_a_made_key_is_asked_for(root: Path) -> None:
    endpoint = Endpoint(root, "1a2b3c4d", "--api-key", "--step", "base")
    assert endpoint.process.stdout is not None
    key = endpoint.process.stdout.readline().split("its key: ")[1].strip()
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=endpoint.url, api_key="none", max_retries=0).models.list()
    models = openai.OpenAI(base_url=endpoint.url, api_key=key).models.list()
    assert [model.id for model in models] == ["mine-1a2b3c4d-base"]
    assert endpoint.end(signal.SIGINT) == 130
