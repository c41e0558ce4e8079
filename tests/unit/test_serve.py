"""Serving: refused where it would be open to others, and vLLM as a child that ends with us."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from rlagent import serve as command
from rlagent.backends.served import Serve
from rlagent.backends.vllm.served import GUARD, KEY, LOOPBACK_ONLY, VLLMServer, arguments
from rlagent.base.endings import RunError
from rlagent.base.errors import ConfigError
from rlagent.config.schema import LearnConfig
from rlagent.machine import gpu_memory
from rlagent.serving import serve
from rlagent.serving.serve import Asked, Place, checked, ending_when_asked, engine_for


def test_a_free_port_of_loopback_needs_no_key() -> None:
    place = checked(Place())
    assert (place.host, place.port > 0) == ("127.0.0.1", True)
    assert checked(Place("localhost")).host in ("127.0.0.1", "::1")


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_beyond_loopback_a_key_is_needed(host: str) -> None:
    with pytest.raises(ConfigError, match="add --api-key"):
        checked(Place(host))
    if host == "0.0.0.0":
        assert checked(Place(host, api_key="sesame")).host == host


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.7"])
def test_an_address_that_is_not_of_this_machine_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match="--"):
        checked(Place(host, api_key="sesame"))


def test_a_port_that_is_taken_or_none_is_refused_with_the_remedy() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(ConfigError, match="--port 0 for a free one"),
    ):
        checked(Place(port=other.getsockname()[1]))
    with pytest.raises(ConfigError, match="to 65535"):
        checked(Place(port=70000))


def test_an_unknown_engine_and_one_without_its_gpu_are_refused() -> None:
    with pytest.raises(ConfigError, match="known are auto, embedded, vllm"):
        engine_for("sglang")
    if engine_for("auto").on_gpus:
        pytest.skip("there is a GPU here")
    with pytest.raises(ConfigError, match="no GPU"):
        engine_for("vllm")


def test_bad_input_is_one_line_and_status_2(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for arguments_ in (["none"], ["none", "--host", "0.0.0.0"], ["none", "--port", "99999"]):
        assert command.main([*arguments_, "--root", str(tmp_path)]) == 2
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_once(number: signal.Signals) -> None:
    before, closed = signal.getsignal(number), []

    def work() -> None:
        with ending_when_asked():
            try:
                signal.raise_signal(number)
            finally:
                # What is closed then is not cut off by a second one.
                signal.raise_signal(number)
                closed.append(True)

    with pytest.raises(Asked) as raised:
        work()
    assert (raised.value.number, closed) == (number, [True])
    assert signal.getsignal(number) == before


# Answers as vLLM's server does, after it has written down how it was called.
STAND_IN = """
import http.server, json, os, pathlib, sys
here = pathlib.Path(__file__).parent
words = sys.argv[1:]
if words[words.index("--served-model-name") + 1] == "fails":
    print("ValueError: no room for the model")
    print("RuntimeError: Engine core initialization failed. See root cause above.")
    sys.exit(3)
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")
server = http.server.HTTPServer(("127.0.0.1", int(words[words.index("--port") + 1])), Health)
(here / "called.json").write_text(json.dumps([words, dict(os.environ), os.getpid()]))
server.serve_forever()
"""


def asked_of(tmp_path: Path, **changes: object) -> Serve:
    values = {
        "model": "/models/mine", "name": "mine", "host": "127.0.0.1",
        "port": checked(Place()).port, "api_key": "sesame", "max_model_len": 512,
        "temperature": 0.5, "top_p": 0.9, "top_k": -1, "max_tokens": 64, "dtype": "bfloat16",
        "gpus": 2, "memory_share": 0.4, "enable_thinking": False,
        "tool_call_parser": "hermes", "reasoning_parser": "deepseek_r1",
        "trust_remote_code": False, "seed": 3, "log": tmp_path / "serve.log",
    }  # fmt: skip
    return Serve(**{**values, **changes})


def stand_in(tmp_path: Path) -> tuple[str, ...]:
    file = tmp_path / "stand_in.py"
    file.write_text(STAND_IN)
    return (str(file),)


def test_vllm_gets_the_key_where_others_cannot_read_it_and_ends_when_stopped(
    tmp_path: Path,
) -> None:
    asked = asked_of(tmp_path)
    server = VLLMServer(asked, stand_in(tmp_path))
    words, environment, pid = json.loads((tmp_path / "called.json").read_text())
    assert words == arguments(asked)
    assert "sesame" not in words
    assert environment["VLLM_API_KEY"] == "sesame"
    assert server.ended() == ""
    server.stop()
    assert not psutil.pid_exists(pid)
    assert "vLLM ended with status" in server.ended()


def test_vllm_samples_as_the_run_did_unless_a_request_says_otherwise(tmp_path: Path) -> None:
    words = arguments(asked_of(tmp_path))
    sampling = json.loads(words[words.index("--override-generation-config") + 1])
    assert sampling == {"temperature": 0.5, "top_p": 0.9, "top_k": 0}
    assert "--enable-auto-tool-choice" in words
    plain = arguments(
        asked_of(tmp_path, tool_call_parser=None, reasoning_parser=None, enable_thinking=None)
    )
    assert "--enable-auto-tool-choice" not in plain
    assert "--default-chat-template-kwargs" not in plain


def test_vllm_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="status 3: ValueError: no room for the model"):
        VLLMServer(asked_of(tmp_path, name="fails"), stand_in(tmp_path))


def test_vllm_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    stand_in(tmp_path)
    program = """
        import runpy, sys, time
        from pathlib import Path
        from rlagent.backends.vllm.served import VLLMServer
        test, folder = runpy.run_path(sys.argv[1]), Path(sys.argv[2])
        VLLMServer(test["asked_of"](folder), (str(folder / "stand_in.py"),))
        print("ready", flush=True)
        time.sleep(600)
    """
    root = Path(command.__file__).parents[1]
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), __file__, str(tmp_path)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == "ready\n"
    child = psutil.Process(json.loads((tmp_path / "called.json").read_text())[2])
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 60
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def guarded() -> TestClient:
    paths = ("/v1/models", "/invocations", "/health")
    app = Starlette(
        routes=[
            *(Route(path, lambda _: PlainTextResponse("ok")) for path in paths),
            WebSocketRoute("/v1/realtime", lambda socket: socket.accept()),
        ]
    )
    # As vLLM adds a class that --middleware names.
    module, _, name = GUARD.rpartition(".")
    app.add_middleware(getattr(sys.modules[module], name))
    return TestClient(app)


def test_vllm_answers_no_page_of_a_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    client = guarded()

    def status(**headers: str) -> int:
        return client.get("/v1/models", headers=headers).status_code

    monkeypatch.setenv(LOOPBACK_ONLY, "1")
    assert status(host="127.0.0.1:8000") == 200
    assert status(host="evil.example") == 403
    assert status(host="localhost", origin="https://evil.example") == 403
    origin = {"host": "localhost", "origin": "https://evil.example"}
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("/v1/realtime", headers=origin),
    ):
        pass
    monkeypatch.delenv(LOOPBACK_ONLY)
    assert status(host="my.machine:8000") == 200
    assert status(host="my.machine:8000", origin="https://evil.example") == 403


def test_vllm_asks_for_the_key_at_every_address_but_its_health(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(KEY, "sesame")
    client = guarded()
    for path in ("/v1/models", "/invocations", "/docs"):
        assert client.get(path).status_code == 401
        assert client.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert client.get("/health").status_code == 200
    right = {"Authorization": "Bearer sesame"}
    assert client.get("/invocations", headers=right).status_code == 200


def test_the_cause_of_an_end_is_not_an_earlier_servers(tmp_path: Path) -> None:
    asked = asked_of(tmp_path)
    asked.log.write_text("ValueError: of yesterday\n")
    server = VLLMServer(asked, stand_in(tmp_path))
    server.stop()
    assert "yesterday" not in server.ended()


def test_vllm_takes_what_others_leave_of_the_gpus_it_shares(monkeypatch, tmp_path: Path) -> None:
    memory = [("a", 90, 100), ("b", 40, 100), ("c", 1, 100)]
    monkeypatch.setattr(gpu_memory, "gpu_memory", lambda: memory)
    assert gpu_memory.free_share(1) == 0.87
    assert gpu_memory.free_share(2) == 0.37
    assert gpu_memory.free_share(3) == 0.01
    monkeypatch.setattr(gpu_memory, "gpu_memory", lambda: [("a", 100, 100)])
    assert gpu_memory.free_share(1) == gpu_memory.LARGEST_SHARE
    words = arguments(asked_of(tmp_path))
    assert words[words.index("--tensor-parallel-size") + 1] == "2"
    assert words[words.index("--gpu-memory-utilization") + 1] == "0.4"


def test_what_is_free_of_the_runs_gpus_is_what_vllm_is_asked_to_take(monkeypatch, tmp_path) -> None:
    config = LearnConfig()
    config.hardware.layout, config.model.max_model_len = "1x2+4", 512
    config.model.max_response_tokens = 64
    run = SimpleNamespace(name="mine", path=tmp_path)
    trained = SimpleNamespace(config=config, run=run, kept="step 1", name="mine-step-1")
    engine = SimpleNamespace(on_gpus=True, name="vllm", server="")
    monkeypatch.setattr(serve, "detect", lambda: SimpleNamespace(gpus=("a", "b", "c")))
    monkeypatch.setattr(serve, "free_share", {2: 0.37}.__getitem__)
    monkeypatch.setattr(serve, "engine_for", lambda name: engine)
    monkeypatch.setattr(serve, "ready_folder", lambda trained: "/models/mine")
    monkeypatch.setattr(serve, "load", lambda server: lambda asked: asked)
    asked = serve.serve(trained, Place(), print)
    assert (asked.gpus, asked.memory_share) == (2, 0.37)


def test_a_run_is_served_on_as_many_gpus_as_one_of_its_engines_had(monkeypatch) -> None:
    config = LearnConfig()
    config.hardware.layout = "1x2+4"
    trained = SimpleNamespace(config=config, run=SimpleNamespace(name="mine"))
    monkeypatch.setattr(serve, "detect", lambda: SimpleNamespace(gpus=("a", "b")))
    assert serve._gpus_for(trained) == 2
    monkeypatch.setattr(serve, "detect", lambda: SimpleNamespace(gpus=("a",)))
    with pytest.raises(RunError, match="among 2 GPUs, and this machine has 1"):
        serve._gpus_for(trained)
