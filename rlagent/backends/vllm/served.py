"""vLLM's own API server in a process of its own: see rlagent.backends.served."""

import http.client
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from rlagent.backends.served import Serve
from rlagent.base.child import end_child, start_child
from rlagent.base.endings import RunError
from rlagent.base.loopback import is_key, is_loopback

READY_WITHIN = 1200.0
"""Seconds that a server may take to load a model and to compile."""
STOP_WITHIN = 20.0
"""Seconds that a server may take to end."""
_LOOK_AGAIN = 0.5
LOOPBACK_ONLY = "RLAGENT_LOOPBACK_ONLY"
"""Set for a server without a key: only names of loopback may be called."""
GUARD = "rlagent.backends.vllm.served.Guard"
KEY = "VLLM_API_KEY"
"""vLLM's own variable."""
LAST = 2**16
"""Bytes at the end of a log in which the cause of an end is looked for."""

ELSEWHERE = "See root cause above"
"""Of the error that the server raises when the engine failed; the cause stands above it."""


def arguments(asked: Serve) -> list[str]:
    """The command line of vLLM's API server. The key is not in it: others may read those.

    Args:
        asked: What to serve.
    """
    sampling: dict[str, Any] = {
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        # As everywhere in Hugging Face, 0 keeps every token.
        "top_k": max(0, asked.top_k),
    }
    # No max_new_tokens: vLLM would also cut requests that ask for more.
    words = ["--model", asked.model, "--served-model-name", asked.name]
    words += ["--host", asked.host, "--port", str(asked.port), "--dtype", asked.dtype]
    words += ["--max-model-len", str(asked.max_model_len), "--seed", str(asked.seed)]
    words += ["--tensor-parallel-size", str(asked.gpus)]
    words += ["--gpu-memory-utilization", str(asked.memory_share)]
    words += ["--generation-config", "vllm"]
    words += ["--override-generation-config", json.dumps(sampling)]
    # No page of a browser is answered.
    words += ["--allowed-origins", "[]", "--middleware", GUARD]
    if asked.tool_call_parser:
        words += ["--enable-auto-tool-choice", "--tool-call-parser", asked.tool_call_parser]
    if asked.reasoning_parser:
        words += ["--reasoning-parser", asked.reasoning_parser]
    if asked.enable_thinking is not None:
        template = json.dumps({"enable_thinking": asked.enable_thinking})
        words += ["--default-chat-template-kwargs", template]
    if asked.trust_remote_code:
        words.append("--trust-remote-code")
    return words


class Guard:
    """Middleware of vLLM's server: the key for every address, and no page of a browser.

    vLLM itself asks for the key below /v1 only, and generates elsewhere too (/invocations).
    What a browser says is explained in rlagent.base.loopback.
    """

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer, or pass on: ASGI's interface."""
        from starlette.datastructures import Headers
        from starlette.responses import JSONResponse

        found = None
        if scope["type"] in ("http", "websocket"):
            found = _refusal(str(scope["path"]), Headers(scope=scope))
        if found is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            status, kind, message = found
            error = {"message": message, "type": kind, "param": None, "code": status}
            await JSONResponse({"error": error}, status_code=status)(scope, receive, send)


def _refusal(path: str, headers: Mapping[str, str]) -> tuple[int, str, str] | None:
    """Status, type and message for a request that is not answered."""
    host = headers.get("host", "")
    if os.environ.get(LOOPBACK_ONLY) and not is_loopback(host):
        return 403, "permission_error", f"the host {host!r} is not loopback"
    if "origin" in headers:
        return 403, "permission_error", "browsers are not answered"
    key = os.environ.get(KEY, "")
    given = headers.get("authorization", "").removeprefix("Bearer ")
    # Who waits for the server asks for its health without the key.
    if key and path != "/health" and not is_key(given, key):
        return 401, "authentication_error", "the key is missing or wrong"
    return None


class VLLMServer:
    """A child process; it ends with this one, however this one ends.

    Args:
        asked: What to serve.
        command: Python's arguments before those of the server; tests name another module.

    Raises:
        RunError: It ended instead of answering; with the last lines of its log.
    """

    def __init__(
        self, asked: Serve, command: tuple[str, ...] = ("-m", "vllm.entrypoints.openai.api_server")
    ) -> None:
        self._asked = asked
        host = f"[{asked.host}]" if ":" in asked.host else asked.host
        self.url = f"http://{host}:{asked.port}"
        environment = dict(os.environ)
        if asked.api_key:
            environment[KEY] = asked.api_key
        else:
            environment[LOOPBACK_ONLY] = "1"
        asked.log.parent.mkdir(parents=True, exist_ok=True)
        with asked.log.open("ab") as log:
            # What an earlier server said there is no cause of this one's end.
            self._begin = log.tell()
            self._child = start_child(
                [sys.executable, *command, *arguments(asked)], environment, log, subprocess.STDOUT
            )
        try:
            self._await_ready()
        except BaseException:
            self.stop()
            raise

    def ended(self) -> str:
        """See Served."""
        status = self._child.poll()
        if status is None:
            return ""
        with self._asked.log.open("rb") as log:
            log.seek(max(self._begin, log.seek(0, os.SEEK_END) - LAST))
            said = log.read().decode(errors="replace").splitlines()
        errors = [line for line in said if "Error" in line and ELSEWHERE not in line]
        last = next(reversed(errors or said), "")
        return f"vLLM ended with status {status}: {last.strip()}; the rest is in {self._asked.log}"

    def stop(self) -> None:
        """See Served."""
        end_child(self._child, STOP_WITHIN)

    def _await_ready(self) -> None:
        deadline = time.monotonic() + READY_WITHIN
        while not self._answers():
            if cause := self.ended():
                raise RunError(cause)
            if time.monotonic() > deadline:
                raise RunError(
                    f"vLLM did not answer within {READY_WITHIN:.0f} s: {self._asked.log}"
                )
            self._wait(_LOOK_AGAIN)

    def _wait(self, seconds: float) -> None:
        try:
            self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            return

    def _answers(self) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{self.url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError, http.client.HTTPException):
            return False
