"""The OpenAI-compatible HTTP face of the embedded engine, on loopback unless it has a key.

Reads and answers requests; what they may ask for is in protocol.py, drawing in generate.py.
"""

import dataclasses
import ipaddress
import json
import socket
from contextlib import aclosing
from typing import Any, List, Optional, Tuple

from aiohttp import web
from aiohttp.typedefs import Handler

from rlagent.backends.base import TOO_LONG
from rlagent.backends.embedded.engine.chat import ChatError
from rlagent.backends.embedded.engine.completion import Completions
from rlagent.backends.embedded.engine.generate import Request
from rlagent.backends.embedded.engine.grammar import GrammarError, Grammars
from rlagent.backends.embedded.engine.http import error_of, error_response, guarding
from rlagent.backends.embedded.engine.loop import EngineDiedError, GenerationLoop
from rlagent.backends.embedded.engine.protocol import (
    BadRequestError,
    ChatRequest,
    Defaults,
    parse_chat_request,
)
from rlagent.backends.embedded.engine.render import ChatRenderer
from rlagent.backends.embedded.engine.stream import DONE, event

_MAX_BODY = 64 << 20
BACKLOG = 4096
GRACE = 5.0
"""Seconds that answers under way get when the server is stopped."""


class ChatServer:
    """Answers requests from one generation loop.

    Args:
        loop: Draws the responses.
        tokenizer: Of transformers.
        renderer: Makes prompts.
        grammars: Makes constraints.
        model_name: What /v1/models and responses say.
        max_model_len: Tokens of prompt and response together.
        defaults: For what a request leaves out.
        reasoning: Whether text before </think> is reported as reasoning_content.
        api_key: What requests must bring as a bearer token; empty: nothing.
    """

    def __init__(
        self,
        loop: GenerationLoop,
        tokenizer: Any,
        renderer: ChatRenderer,
        grammars: Grammars,
        model_name: str,
        max_model_len: int,
        defaults: Defaults,
        reasoning: bool = False,
        api_key: str = "",
    ) -> None:
        self.loop = loop
        self.completions = Completions(tokenizer, model_name, reasoning)
        self.renderer = renderer
        self.grammars = grammars
        self.model_name = model_name
        self.max_model_len = max_model_len
        self.defaults = defaults
        self.api_key = api_key
        self._runner: Optional[web.AppRunner] = None

    async def start(self, listening: Optional[socket.socket] = None) -> str:
        """Listen; returns the address, as http://127.0.0.1:port.

        Args:
            listening: Bound to where; None: to a free port of 127.0.0.1. Beyond loopback any name
                of this machine may be called, and there must be a key.
        """
        if listening is None:
            listening = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        host, port = listening.getsockname()[:2]
        if not ipaddress.ip_address(host).is_loopback and not self.api_key:
            raise ValueError(f"a server at {host} needs a key")
        errors: Any = _errors_as_json
        guard: Any = guarding(self.api_key, ipaddress.ip_address(host).is_loopback)
        app = web.Application(client_max_size=_MAX_BODY, middlewares=[errors, guard])
        app.router.add_get("/health", self._health)
        app.router.add_get("/load", self._load)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._chat)
        # A caller that gave up must not keep its row.
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=GRACE
        )
        await self._runner.setup()
        await web.SockSite(self._runner, listening, backlog=BACKLOG).start()
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    async def stop(self) -> None:
        """Close the port and its connections."""
        if self._runner is not None:
            await self._runner.cleanup()

    # ---- handlers ----

    async def _health(self, _: web.Request) -> web.Response:
        if self.loop.error is not None:
            return error_response(500, f"the engine stopped: {self.loop.error!r}", "server_error")
        return web.Response()

    async def _load(self, _: web.Request) -> web.Response:
        generator = self.loop.generator
        return web.json_response({"server_load": generator.active + len(generator.waiting)})

    async def _models(self, _: web.Request) -> web.Response:
        model = {
            "id": self.model_name,
            "object": "model",
            "created": 0,
            "owned_by": "rlagent",
            "max_model_len": self.max_model_len,
        }
        return web.json_response({"object": "list", "data": [model]})

    async def _chat(self, http: web.Request) -> web.StreamResponse:
        try:
            body = await http.json(loads=json.loads)
        except (ValueError, RecursionError) as error:
            raise BadRequestError(f"the body is not JSON: {error}") from error
        chat = parse_chat_request(body, self.defaults)
        prompt, requests = self._requests(chat)
        if not chat.stream:
            await self.loop.generate(requests)
            return web.json_response(self.completions.whole(chat, prompt, requests))
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
        )
        await response.prepare(http)
        try:
            async with aclosing(self.loop.stream(requests)) as drawn:
                async for piece in self.completions.pieces(chat, prompt, requests, drawn):
                    await response.write(event(piece))
        except EngineDiedError as error:
            await response.write(event({"error": error_of(500, str(error), "server_error")}))
        await response.write(DONE)
        return response

    def _requests(self, chat: ChatRequest) -> Tuple[List[int], List[Request]]:
        """The prompt, and what the generator is asked for.

        Raises:
            BadRequestError: If it does not fit the model, its template or a grammar.
        """
        try:
            prompt = self.renderer.prompt(chat.messages, chat.tools, chat.template_arguments)
            return prompt, [self.request(prompt, chat, i) for i in range(chat.n)]
        except ChatError as error:
            raise BadRequestError(str(error), "messages") from error
        except GrammarError as error:
            raise BadRequestError(
                str(error), "tools" if chat.tools else "response_format"
            ) from error

    def request(self, prompt: List[int], chat: ChatRequest, index: int) -> Request:
        """The generator's request for one of the `n` responses.

        Raises:
            BadRequestError: If the prompt is too long.
            GrammarError: If a schema cannot be followed.
        """
        room = self.max_model_len - len(prompt)
        if room < 1:
            raise BadRequestError(
                f"this model's {TOO_LONG} is {self.max_model_len} tokens; the prompt has "
                f"{len(prompt)}, and at least one of response must fit too",
                "messages",
            )
        params = chat.params
        seed = None if params.seed is None else params.seed + index
        params = dataclasses.replace(
            params, max_tokens=min(chat.max_tokens or room, room), seed=seed
        )
        constraint = None
        if chat.tool_choice == "required":
            constraint = self.grammars.for_tools(chat.tools, chat.only, chat.parallel_tool_calls)
        elif chat.json_output:
            constraint = self.grammars.for_schema(chat.schema)
        return Request(prompt, params, constraint)


@web.middleware
async def _errors_as_json(http: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(http)
    except BadRequestError as error:
        return error_response(400, str(error), "invalid_request_error", error.param)
    except EngineDiedError as error:
        return error_response(500, str(error), "server_error")
    except web.HTTPException as error:
        return error_response(error.status, error.reason or "", "invalid_request_error")
