"""The OpenAI-compatible HTTP face of the embedded engine, on the loopback interface only.

Reads and answers requests; what they may ask for is in protocol.py, drawing in generate.py.
"""

import dataclasses
import json
import time
import uuid
from typing import Any, Dict, List, Optional, Sequence

from aiohttp import web
from aiohttp.typedefs import Handler

from rlagent.backends.base import TOO_LONG
from rlagent.backends.embedded import allowed
from rlagent.backends.embedded.engine.chat import ChatError, assistant_message
from rlagent.backends.embedded.engine.generate import Request
from rlagent.backends.embedded.engine.grammar import GrammarError, Grammars
from rlagent.backends.embedded.engine.loop import EngineDiedError, GenerationLoop
from rlagent.backends.embedded.engine.protocol import (
    BadRequestError,
    ChatRequest,
    Defaults,
    parse_chat_request,
)
from rlagent.backends.embedded.engine.render import ChatRenderer
from rlagent.base.loopback import is_key, is_loopback

_MAX_BODY = 64 << 20


class TokenTexts:
    """Text and bytes of single tokens, as logprobs report them; each worked out once."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._known: Dict[int, Dict[str, Any]] = {}

    def entry(self, token: int, logprob: float) -> Dict[str, Any]:
        """OpenAI's description of a token: token, logprob, bytes."""
        known = self._known.get(token)
        if known is None:
            text = self._tokenizer.decode([token])
            known = {"token": text, "bytes": list(text.encode("utf-8", errors="replace"))}
            self._known[token] = known
        return {**known, "logprob": logprob}


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
        self.tokenizer = tokenizer
        self.renderer = renderer
        self.grammars = grammars
        self.model_name = model_name
        self.max_model_len = max_model_len
        self.defaults = defaults
        self.reasoning = reasoning
        self.api_key = api_key
        self._texts = TokenTexts(tokenizer)
        self._runner: Optional[web.AppRunner] = None

    async def start(self) -> str:
        """Listen on a free port of 127.0.0.1; returns the address, as http://127.0.0.1:port."""
        errors: Any = _errors_as_json
        guard: Any = guarding(self.api_key)
        app = web.Application(client_max_size=_MAX_BODY, middlewares=[errors, guard])
        app.router.add_get("/health", self._health)
        app.router.add_get("/load", self._load)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._chat)
        # A caller that gave up must not keep its row.
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, backlog=4096)
        await site.start()
        port = self._runner.addresses[0][1]
        return f"http://127.0.0.1:{port}"

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

    async def _chat(self, http: web.Request) -> web.Response:
        try:
            body = await http.json(loads=json.loads)
        except (ValueError, RecursionError) as error:
            raise BadRequestError(f"the body is not JSON: {error}") from error
        return web.json_response(await self.answer(parse_chat_request(body, self.defaults)))

    async def answer(self, chat: ChatRequest) -> Dict[str, Any]:
        """The chat completion of a request.

        Raises:
            BadRequestError: If it does not fit the model, its template or a grammar.
            EngineDiedError: If the engine failed.
        """
        try:
            prompt = self.renderer.prompt(chat.messages, chat.tools, chat.template_arguments)
            requests = [self.request(prompt, chat, i) for i in range(chat.n)]
        except ChatError as error:
            raise BadRequestError(str(error), "messages") from error
        except GrammarError as error:
            raise BadRequestError(
                str(error), "tools" if chat.tools else "response_format"
            ) from error
        await self.loop.generate(requests)
        drawn = sum(len(r.tokens) for r in requests)
        completion = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self.model_name,
            "choices": [self._choice(i, r, chat) for i, r in enumerate(requests)],
            "usage": {
                "prompt_tokens": len(prompt),
                "completion_tokens": drawn,
                "total_tokens": len(prompt) + drawn,
            },
        }
        if chat.return_token_ids:
            completion["prompt_token_ids"] = prompt
        return completion

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

    def _choice(self, index: int, request: Request, chat: ChatRequest) -> Dict[str, Any]:
        text = self.tokenizer.decode(request.tokens, skip_special_tokens=True)
        if request.text_end is not None:
            text = text[: request.text_end]
        message, reason = assistant_message(
            text,
            chat.names,
            request.finish_reason or "stop",
            read_calls=chat.tool_choice != "none",
            reasoning=self.reasoning,
        )
        choice: Dict[str, Any] = {
            "index": index,
            "message": message,
            "finish_reason": reason,
            "logprobs": {"content": self._logprobs(request)} if chat.logprobs else None,
        }
        if chat.return_token_ids:
            choice["token_ids"] = request.tokens
            if request.allowed:
                choice["allowed_tokens"] = allowed.encode(request.allowed)
        if chat.return_token_logprobs:
            choice["token_logprobs"] = request.logprobs
        return choice

    def _logprobs(self, request: Request) -> List[Dict[str, Any]]:
        entry = self._texts.entry
        alternatives: Sequence[Any] = request.alternatives or [()] * len(request.tokens)
        return [
            {**entry(token, logprob), "top_logprobs": [entry(t, p) for t, p in others]}
            for token, logprob, others in zip(
                request.tokens, request.logprobs, alternatives, strict=True
            )
        ]


def error_response(
    status: int, message: str, kind: str, param: Optional[str] = None
) -> web.Response:
    """An error in the shape that OpenAI clients read."""
    error = {"message": message, "type": kind, "param": param, "code": status}
    return web.json_response({"error": error}, status=status)


def guarding(api_key: str) -> Any:
    """A middleware that answers only who knows the key, and no page of a browser.

    What a browser says is explained in rlagent.base.loopback.
    """

    @web.middleware
    async def guard(http: web.Request, handler: Handler) -> web.StreamResponse:
        host = http.headers.get("Host", "")
        if not is_loopback(host):
            return error_response(403, f"the host {host!r} is not loopback", "permission_error")
        if "Origin" in http.headers:
            return error_response(403, "browsers are not answered", "permission_error")
        # Not what says that it lives, and how busy it is: Trinity asks without the key.
        if api_key and http.path.startswith("/v1/"):
            given = http.headers.get("Authorization", "").removeprefix("Bearer ")
            if not is_key(given, api_key):
                text = "the key of this run is missing or wrong"
                return error_response(401, text, "authentication_error")
        return await handler(http)

    return guard


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
