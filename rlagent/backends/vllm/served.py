"""vLLM's own API server in a process of its own: see rlagent.backends.served."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from typing import Any

from rlagent.backends.served import Serve
from rlagent.base.child import end_child, start_child
from rlagent.base.endings import RunError
from rlagent.base.loopback import is_loopback

READY_WITHIN = 1200.0
"""Seconds that a server may take to load a model and to compile."""
STOP_WITHIN = 20.0
"""Seconds that a server may take to end."""
_LOOK_AGAIN = 0.5
LOOPBACK_ONLY = "RLAGENT_LOOPBACK_ONLY"
"""Set for a server without a key: only names of loopback may be called."""
GUARD = "rlagent.backends.vllm.served.loopback_guard"


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


async def loopback_guard(request: Any, answer: Callable[[Any], Awaitable[Any]]) -> Any:
    """Middleware of vLLM's server that answers no page of a browser: see the embedded engine's."""
    from starlette.responses import JSONResponse

    host = request.headers.get("host", "")
    if os.environ.get(LOOPBACK_ONLY) and not is_loopback(host):
        message = f"the host {host!r} is not loopback"
    elif "origin" in request.headers:
        message = "browsers are not answered"
    else:
        return await answer(request)
    error = {"message": message, "type": "permission_error", "param": None, "code": 403}
    return JSONResponse({"error": error}, status_code=403)


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
            environment["VLLM_API_KEY"] = asked.api_key
        else:
            environment[LOOPBACK_ONLY] = "1"
        asked.log.parent.mkdir(parents=True, exist_ok=True)
        with asked.log.open("ab") as log:
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
        said = self._asked.log.read_text(encoding="utf-8", errors="replace").splitlines()
        last = next((line for line in reversed(said) if "Error" in line), said[-1] if said else "")
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
        except (urllib.error.URLError, OSError):
            return False
