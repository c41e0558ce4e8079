"""The engine of a model behind an endpoint, asked over loopback."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rlagent.backends.base import Start
from rlagent.backends.external.engine import ExternalModel
from rlagent.backends.registry import engine_named
from rlagent.base.errors import UnreachableError
from rlagent.upstream import trinity_imports

trinity_imports.without_vllm.apply()

from trinity.common.config import InferenceModelConfig  # noqa: E402
from trinity.common.constants import SyncMethod  # noqa: E402

KEY = "sesame-of-the-test"


class Endpoint(BaseHTTPRequestHandler):
    """Serves one model to whoever has the key."""

    def do_GET(self) -> None:
        self._answer({"object": "list", "data": [{"id": "big", "object": "model"}]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        said = f"{asked['model']} heard {asked['messages'][-1]['content']}"
        message = {"role": "assistant", "content": said}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        self._answer({"id": "1", "object": "chat.completion", "created": 0, "choices": [choice]})

    def _answer(self, body: dict) -> None:
        allowed = self.headers["Authorization"] == f"Bearer {KEY}"
        payload = json.dumps(body if allowed else {"error": {"message": "no"}}).encode()
        self.send_response(200 if allowed else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def engine(url: str, name: str = "big", key_env: str | None = "KEY_OF_THE_TEST") -> ExternalModel:
    start = Start(
        seed=1, threads=1, dtype="float32", gpu_memory_utilization=0.5, enforce_eager=False,
        prefix_caching=True, attention="sdpa", offload=False, max_model_len=64, vocab=0,
        sequence_parallel=1, concurrency=1, in_turns=False, url=url, key_env=key_env,
    )  # fmt: skip
    settings = engine_named("external").settings(start)
    return ExternalModel(InferenceModelConfig(model_path=name, engine_type="external", **settings))


@pytest.fixture(autouse=True)
def _key(monkeypatch) -> None:
    monkeypatch.setenv("KEY_OF_THE_TEST", KEY)


def prepared(model: ExternalModel) -> ExternalModel:
    asyncio.run(model.prepare())
    return model


def test_it_answers_a_chat_request_by_the_models_name(url) -> None:
    async def answer() -> str | None:
        model = engine(url)
        await model.prepare()
        found = await model.complete([{"role": "user", "content": "hello"}], temperature=0.5)
        await model.shutdown()
        return found.choices[0].message.content

    assert asyncio.run(answer()) == "big heard hello"


def test_agents_reach_it_as_they_reach_the_other_engines(url) -> None:
    model = engine(url)
    assert f"{model.get_api_server_url()}/v1" == url
    assert model.get_api_key() == KEY
    assert model.get_model_version() == 0


def test_no_setting_of_it_holds_the_key(url) -> None:
    assert KEY not in str(engine(url).config)


@pytest.mark.parametrize("missing", ["big2", "bigger"])
def test_a_model_that_is_not_served_is_refused_with_those_that_are(url, missing) -> None:
    with pytest.raises(UnreachableError, match=r"model\.name=.*served: big"):
        prepared(engine(url, missing))


def test_a_key_that_the_endpoint_refuses_is_named_by_its_variable(url) -> None:
    with pytest.raises(UnreachableError, match="refuses the key") as caught:
        prepared(engine(url, key_env=None))
    assert caught.value.problems[0].key == "model.key_env"


def test_an_endpoint_that_does_not_answer_is_named() -> None:
    with pytest.raises(UnreachableError, match=r"model\.url=http://127\.0\.0\.1:9"):
        prepared(engine("http://127.0.0.1:9"))


def test_it_takes_no_weights(url) -> None:
    with pytest.raises(ValueError, match="only measures"):
        asyncio.run(engine(url).sync_model_weights(1, SyncMethod.MEMORY))
