"""The model of a rollout as an OpenAI-compatible endpoint, for agents written with any library.

One server per process that runs agent code, on loopback, in a thread of its own: agent code may
block the event loop that rollouts share while a program that it started asks the model. Each
rollout has an address and a secret, which end with it. What is asked goes through the rollout's
own record (recording.py); what an answer in pieces looks like is the embedded engine's stream.py.
"""

import asyncio
import json
import secrets
import threading
from collections.abc import Coroutine
from itertools import count
from typing import Any, TypeVar

import httpx
import openai
from aiohttp import web
from aiohttp.typedefs import Handler

from rlagent.backends.embedded.engine.http import error_response, guarding
from rlagent.backends.embedded.engine.protocol import BadRequestError, parse_streaming
from rlagent.backends.embedded.engine.stream import DONE, event, pieces_of
from rlagent.base.loopback import is_key
from rlagent.trinity.guard import current
from rlagent.trinity.recording import TIMEOUT, Completions, close_each, new_client

T = TypeVar("T")

POLICY = "policy"
"""What the model in training is called; it also goes by its path."""

AGENT, CALLER = "X-Agent", "X-Rlagent-Rollout"
"""Headers: the name of the agent that asks, and the rollout whose code it is."""

_MAX_BODY = 64 << 20
_LONGEST_NAME = 100
_OURS = ("return_token_ids", "return_token_logprobs")
"""Fields of a request that the record needs, whatever the agent asks for."""
_WINS = ("top_k", "chat_template_kwargs")
"""Fields that are no OpenAI's and that the run sets, too: the agent's own count."""
_PRIVATE = ("token_ids", "token_logprobs", "token_texts", "allowed_tokens", "prompt_token_ids")


class RolloutOverError(Exception):
    """The rollout has ended; the message says so."""


class Session:
    """What one rollout has of the endpoint, from its begin to its end.

    Args:
        number: Of the rollout among those of this process.
        key: Names the rollout among those of its run.
        url: Of the server.
        completions: Asks the engine and records, from the server's loop.
        defaults: What a request gets that does not say.
        loop: The server's.
    """

    def __init__(
        self,
        number: int,
        key: str,
        url: str,
        completions: Completions,
        defaults: dict[str, Any],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.key = key
        self.api_key = secrets.token_urlsafe(32)
        self.base_url = f"{url}/{number}/v1"
        self.names = (POLICY, completions.model_path)
        self.is_over = False
        self._completions = completions
        self._defaults = defaults
        self._loop = loop
        self._calls: set[asyncio.Task[Any]] = set()

    def client(self) -> openai.AsyncOpenAI:
        """A client of the rollout's own. Its connections end with each call, since nobody closes
        it and a thread may run one event loop after the other."""
        http = httpx.AsyncClient(
            # What it asks is on loopback: no proxy, no certificates, which take long to load.
            trust_env=False,
            verify=False,
            timeout=TIMEOUT,
            limits=httpx.Limits(max_keepalive_connections=0),
            event_hooks={"request": [_say_caller]},
        )
        return openai.AsyncOpenAI(base_url=self.base_url, api_key=self.api_key, http_client=http)

    async def ask(self, body: dict[str, Any], agent: str | None) -> dict[str, Any]:
        """The completion of a request, recorded; called in the server's loop.

        Raises:
            RolloutOverError: The rollout ended before there was one.
            openai.APIError: The engine gave none.
        """
        asked = {key: value for key, value in body.items() if value is not None}
        wanted = {name for name in _OURS if asked.pop(name, False)}
        if not asked.get("logprobs"):
            asked.pop("logprobs", None)
        extra = {**self._defaults.get("extra_body", {})}
        extra |= {name: asked.pop(name) for name in _WINS if name in asked}
        defaults = {k: v for k, v in self._defaults.items() if k != "extra_body"}
        if "max_completion_tokens" in asked:
            defaults.pop("max_tokens", None)
        request = {**defaults, **asked, "model": self.names[-1], "extra_body": extra}
        call = asyncio.ensure_future(self._completions.ask(request, agent))
        self._calls.add(call)
        try:
            if self.is_over:
                call.cancel()
            answer = await call
        except asyncio.CancelledError:
            if call.cancelled() and self.is_over:
                raise RolloutOverError(self.over()) from None
            raise
        finally:
            self._calls.discard(call)
        if self.is_over:
            raise RolloutOverError(self.over())
        return _without_private(answer, asked, wanted, str(body["model"]))

    def over(self) -> str:
        """That it has ended, in words."""
        return f"the rollout {self.key} has ended; nothing more can be asked for it"

    def close(self) -> None:
        """End it, and the calls under way; from any thread."""
        if not self.is_over:
            self.is_over = True
            self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        for call in self._calls:
            call.cancel()


async def _say_caller(request: httpx.Request) -> None:
    rollout = current.get()
    if rollout is not None:
        request.headers[CALLER] = rollout.key


def _without_private(
    answer: Any, asked: dict[str, Any], wanted: set[str], name: str
) -> dict[str, Any]:
    """An engine's answer as the agent asked for it."""
    # The engines' own fields fit none of OpenAI's types.
    found = answer.model_dump(mode="json", exclude_unset=True, by_alias=True, warnings=False)
    kept = set()
    if "return_token_ids" in wanted:
        kept |= {"token_ids", "prompt_token_ids"}
    if "return_token_logprobs" in wanted:
        kept |= {"token_logprobs", "token_texts"}
    hidden = set(_PRIVATE) - kept
    found = {key: value for key, value in found.items() if key not in hidden}
    found["choices"] = [
        {key: value for key, value in choice.items() if key not in hidden}
        | ({} if "logprobs" in asked else {"logprobs": None})
        for choice in found["choices"]
    ]
    return {**found, "model": name}


class Endpoint:
    """The server of this process, which starts when it is first asked for a session."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="endpoint", daemon=True).start()
        self._numbers = count(1)
        self._latest = 0
        self._sessions: dict[int, Session] = {}
        # By address of the engine; they belong to the server's loop.
        self._clients: dict[str, Any] = {}
        self._runner: web.AppRunner | None = None
        self.url = self._run(self._start())

    def open(self, model: Any, completions: Completions, key: str, defaults: dict) -> Session:
        """A session for a rollout.

        Args:
            model: Trinity's handle of the rollout engine.
            completions: Of the rollout's record.
            key: Names the rollout among those of its run.
            defaults: Sampling arguments of a request that leaves them out.
        """
        return self._run(self._open(model, completions, key, defaults))

    def close(self) -> None:
        """Stop the server, and end all sessions."""
        for session in list(self._sessions.values()):
            session.close()
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _open(
        self, model: Any, completions: Completions, key: str, defaults: dict[str, Any]
    ) -> Session:
        for number in [n for n, session in self._sessions.items() if session.is_over]:
            del self._sessions[number]
        address = str(model.api_address)
        if address not in self._clients:
            self._clients[address] = new_client(model, shared=True)
        own = completions.through(self._clients[address])
        self._latest = number = next(self._numbers)
        session = Session(number, key, self.url, own, defaults, self._loop)
        self._sessions[number] = session
        return session

    async def _start(self) -> str:
        guard: Any = guarding("")
        errors: Any = _errors_as_json
        app = web.Application(client_max_size=_MAX_BODY, middlewares=[errors, guard])
        app.router.add_get(r"/{rollout:\d+}/v1/models", self._models)
        app.router.add_post(r"/{rollout:\d+}/v1/chat/completions", self._chat)
        # What an agent no longer waits for is neither drawn nor recorded.
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    async def _stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        await close_each(self._clients)

    # ---- handlers ----

    def _session(self, http: web.Request) -> Session:
        """The session of a request.

        Raises:
            RolloutOverError: Its rollout has ended.
            _RefusedError: The key is not that rollout's, or the caller is another one.
        """
        number = int(http.match_info["rollout"])
        session = self._sessions.get(number)
        if session is None:
            if 0 < number <= self._latest:
                raise RolloutOverError(f"rollout {number} of this process has ended")
            raise _RefusedError(401, "there is no such rollout; use base_url as it was given")
        given = http.headers.get("Authorization", "").removeprefix("Bearer ")
        if not is_key(given, session.api_key):
            others = [is_key(given, one.api_key) for one in self._sessions.values()]
            words = "the key is another rollout's" if any(others) else "the key is missing or wrong"
            raise _RefusedError(401, f"{words}; use base_url and api_key as they were given")
        caller = http.headers.get(CALLER)
        if caller is not None and caller != session.key:
            raise _RefusedError(
                403,
                f"rollout {caller} calls with the client of rollout {session.key}; "
                "use the client that each rollout is given, and keep none",
            )
        if session.is_over:
            raise RolloutOverError(session.over())
        return session

    async def _models(self, http: web.Request) -> web.Response:
        served = self._session(http).names
        models = [
            {"id": name, "object": "model", "created": 0, "owned_by": "rlagent"} for name in served
        ]
        return web.json_response({"object": "list", "data": models})

    async def _chat(self, http: web.Request) -> web.StreamResponse:
        session = self._session(http)
        try:
            body = json.loads(await http.read())
        except (ValueError, RecursionError) as error:
            raise BadRequestError(f"the body is not JSON: {error}") from error
        if not isinstance(body, dict):
            raise BadRequestError("the body must be a JSON object")
        stream, usage = parse_streaming(body)
        if body.get("model") not in session.names:
            raise _RefusedError(
                404,
                f"there is no model {body.get('model')!r:.200}; the model in training is "
                f"{POLICY!r}, also {session.names[-1]!r}",
            )
        messages = body.get("messages")
        if not isinstance(messages, list) or not all(isinstance(one, dict) for one in messages):
            raise BadRequestError("messages must be a list of objects", "messages")
        asked = {k: v for k, v in body.items() if k not in ("stream", "stream_options")}
        agent = http.headers.get(AGENT, "")[:_LONGEST_NAME] or None
        answer = await session.ask(asked, agent)
        if not stream:
            return web.json_response(answer)
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
        )
        await response.prepare(http)
        for piece in pieces_of(answer, usage):
            await response.write(event(piece))
        await response.write(DONE)
        return response


class _RefusedError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


_KINDS = {401: "authentication_error", 403: "permission_error"}


@web.middleware
async def _errors_as_json(http: web.Request, handler: Handler) -> web.StreamResponse:
    bad = "invalid_request_error"
    try:
        return await handler(http)
    except RolloutOverError as error:
        return error_response(410, str(error), "rollout_over")
    except _RefusedError as error:
        return error_response(error.status, str(error), _KINDS.get(error.status, bad))
    except BadRequestError as error:
        return error_response(400, str(error), bad, error.param)
    except openai.APIStatusError as error:
        said = error.body if isinstance(error.body, dict) else {}
        message = str(said.get("message") or error.message)
        return error_response(error.status_code, message, str(said.get("type") or bad))
    except openai.APITimeoutError:
        return error_response(504, f"no answer within {TIMEOUT:g} s", "server_error")
    except openai.APIConnectionError as error:
        return error_response(502, f"the engine cannot be reached: {error}", "server_error")
    except web.HTTPNotFound:
        served = "POST /chat/completions and GET /models below base_url"
        return error_response(404, f"{http.path} is not served; there are {served}", bad)
    except web.HTTPException as error:
        return error_response(error.status, error.reason or "", bad)


_lock = threading.Lock()
_started: list[Endpoint] = []


def endpoint() -> Endpoint:
    """The endpoint of this process."""
    with _lock:
        if not _started:
            _started.append(Endpoint())
        return _started[0]


def close_endpoint() -> None:
    """Stop the endpoint of this process, if there is one; a process that ends need not."""
    with _lock:
        while _started:
            _started.pop().close()
