"""The chat model that a workflow gets: AgentScope's, whose calls are recorded for training.

One HTTP client serves all rollouts of a process, because making one costs about as much as a
short rollout; each rollout has its own record. Turning calls into experiences is Trinity's.
"""

import copy
import json
import os
import threading
import time
import warnings
from collections.abc import Iterator
from itertools import count
from typing import Any

import aiohttp
import httpx
import openai
import torch

from rlagent.upstream import agentscope, trinity_imports

trinity_imports.without_vllm.apply()

from agentscope.model import OpenAIChatModel, TrinityChatModel  # noqa: E402
from openai import NotGiven, Omit  # noqa: E402
from openai.types.chat import ChatCompletion  # noqa: E402
from trinity.common.experience import Experience  # noqa: E402
from trinity.common.models.experience_extraction import (  # noqa: E402
    convert_api_output_to_experience,
)
from trinity.common.models.model import ModelWrapper  # noqa: E402

from rlagent.backends.base import TOO_LONG  # noqa: E402
from rlagent.backends.registry import engine_of_type  # noqa: E402
from rlagent.base.cause import chain  # noqa: E402
from rlagent.base.texts import encodable_tree  # noqa: E402
from rlagent.records.calls import Call  # noqa: E402
from rlagent.trinity.guard import end_copy_of  # noqa: E402
from rlagent.trinity.translate import CUT_RESPONSE  # noqa: E402

agentscope.remember_tool_schemas.apply()
agentscope.remember_merged_schemas.apply()

# Workflows are annotated with it, and their users cannot heed the warning.
warnings.filterwarnings("ignore", message=".*TrinityChatModel is deprecated.*")

_ABSENT = (NotGiven, Omit)

TIMEOUT = 600.0
"""Seconds after which one call of the model is given up."""


class Recorder:
    """What one rollout asked and got: experiences for training, what was said for people."""

    def __init__(self) -> None:
        self.experiences: list[Experience] = []
        self.calls = 0
        # Spent waiting for the model, all calls together.
        self.model_seconds = 0.0
        # With n > 1 one for each answer.
        self.said: list[Call] = []
        # The engine's refusals of this rollout's conversations for their length.
        self.refusals: list[openai.BadRequestError] = []
        # Whether the latest call was one.
        self.refused = False
        # The model's endpoint records from a thread of its own.
        self._lock = threading.Lock()
        self._closed = False

    def close(self) -> None:
        """Record nothing more: what is there is being trained on."""
        with self._lock:
            self._closed = True

    @property
    def agents(self) -> list[str | None]:
        """Who made each call, in the order of the answers; None: an agent without a name."""
        return [call.agent for call in self.said]

    def is_overlong(self, error: BaseException) -> bool:
        """Whether an agent ends by an error because its conversation has grown too long.

        So it is too with another error, raised from the refusal, in a group with it, or after the
        agent caught it and made no call since that was answered. What a judge's or auxiliary
        model refuses is no conversation of the agent's.
        """
        return self.refused or any(each in self.refusals for each in chain(error))

    def record(self, request: dict[str, Any], response: Any, agent: str | None = None) -> None:
        """Keep one call, by the name of the agent that made it."""
        with self._lock:
            if not self._closed:
                self._record(request, response, agent)

    def _record(self, request: dict[str, Any], response: Any, agent: str | None) -> None:
        self.calls += 1
        self.refused = False
        experiences = (
            convert_api_output_to_experience(response)
            if hasattr(response, "prompt_token_ids")
            else counted_experiences(response)
        )
        for experience, choice in zip(experiences, response.choices, strict=True):
            # Sent by the embedded engine for constrained responses; its trainer reads it.
            allowed = getattr(choice, "allowed_tokens", None)
            if allowed is not None:
                experience.info = {**(experience.info or {}), "allowed_tokens": allowed}
            if choice.finish_reason == "length":
                # Trinity says so of its own engines' answers, not of those by this interface.
                experience.truncate_status = CUT_RESPONSE
            logprobs = getattr(choice, "token_logprobs", None)
            if logprobs is not None:
                experience.logprobs = torch.tensor(logprobs, dtype=torch.float32)
        self.experiences.extend(experiences)
        self.said += [
            Call(
                messages=request["messages"],
                reply=_reply(choice.message),
                agent=agent,
                tools=list(request.get("tools") or ()),
                prompt_tokens=experience.prompt_length,
                response_tokens=len(experience.tokens) - experience.prompt_length,
                finish=choice.finish_reason or "",
                **_tokens(choice),
            )
            for experience, choice in zip(experiences, response.choices, strict=True)
        ]


def _tokens(choice: Any) -> dict[str, Any]:
    """The tokens of an answer and their log-probabilities, where the engine sent them."""
    texts, logprobs = (getattr(choice, f"token_{name}", None) for name in ("texts", "logprobs"))
    listed = getattr(getattr(choice, "logprobs", None), "content", None)
    if texts is None and listed:
        texts, logprobs = [one.token for one in listed], [one.logprob for one in listed]
    if texts is None or logprobs is None:
        return {}
    return {"tokens": texts, "logprobs": [round(logprob, 3) for logprob in logprobs]}


def counted_experiences(response: Any) -> list[Experience]:
    """What an endpoint's answer comes to that names no tokens: as many as it counts, none of them
    known. Nobody trains on them."""
    usage = response.usage
    usage = usage if isinstance(usage, dict) else (usage.model_dump() if usage else {})
    # Trinity knows no empty ones.
    prompt, every = max(1, int(usage.get("prompt_tokens") or 0)), len(response.choices)
    answered = max(1, int(usage.get("completion_tokens") or 0) // every)
    return [
        Experience(
            tokens=torch.zeros(prompt + answered, dtype=torch.int32),
            logprobs=torch.zeros(answered),
            prompt_length=prompt,
        )
        for _ in response.choices
    ]


def _reply(message: Any) -> dict[str, Any]:
    reply: dict[str, Any] = {"role": "assistant", "content": message.content}
    for name in ("reasoning_content", "reasoning"):
        if thought := getattr(message, name, None):
            reply[name] = thought
    if message.tool_calls:
        reply["tool_calls"] = [call.model_dump() for call in message.tool_calls]
    return reply


class PlainClient:
    """Calls that go well, without the layers of openai and httpx, which cost as much as the rest
    of an agent's code. What goes wrong is left to them: they repeat it, and raise what is raised.

    Args:
        address: Of the engine, without /v1.
        api_key: Sent as a bearer token.
    """

    def __init__(self, address: str, api_key: str) -> None:
        self._url = f"{address}/v1/chat/completions"
        self._headers = {
            "Authorization": f"Bearer {api_key}",
            "Content-Type": "application/json",
        }
        self._session: aiohttp.ClientSession | None = None
        self._process = os.getpid()

    async def complete(self, body: dict[str, Any]) -> ChatCompletion | None:
        """The completion; None when the engine could not be reached or did not answer with one.

        Raises:
            openai.APITimeoutError: After `TIMEOUT` seconds.
            UnicodeEncodeError: The body holds a text that UTF-8 cannot.
        """
        # A copy that agent code forked would speak on the connections of the original.
        end_copy_of(self._process)
        if self._session is None:
            # Bound to the event loop that runs now, the process's only one.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=TIMEOUT),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        data = json.dumps(body, ensure_ascii=False).encode()
        try:
            async with self._session.post(self._url, data=data, headers=self._headers) as answer:
                if answer.status != 200:
                    return None
                found = json.loads(await answer.read())
        except TimeoutError:
            raise openai.APITimeoutError(request=httpx.Request("POST", self._url)) from None
        except (aiohttp.ClientError, ValueError):
            return None
        return ChatCompletion.construct(**found)

    async def close(self) -> None:
        """Close its connections; a process that ends need not."""
        if self._session is not None:
            await self._session.close()
            self._session = None


class Completions:
    """Calls of the engine, each of them recorded; what OpenAI's client has of that name."""

    def __init__(
        self,
        client: Any,
        recorder: Recorder,
        extra_body: dict[str, Any],
        free_tool_choice: bool,
        seed: int | None,
        asked: Iterator[int],
        role: str | None = None,
    ) -> None:
        self._client = client
        self._plain: PlainClient | None = client.plain
        self._recorder = recorder
        self._extra_body = extra_body
        self._free_tool_choice = free_tool_choice
        self._seed = seed
        self._role = role
        self._asked = asked

    @property
    def model_path(self) -> str:
        """The model's name at the engine."""
        return self._client.model_path

    def through(self, client: Any) -> "Completions":
        """The same, of the same record, by another client: one belongs to one event loop."""
        return Completions(
            client,
            self._recorder,
            self._extra_body,
            self._free_tool_choice,
            self._seed,
            # Two calls of one rollout must not draw alike.
            self._asked,
            self._role,
        )

    async def create(self, **request: Any) -> Any:
        """Call the engine and record the call."""
        if request.get("stream"):
            raise ValueError("stream=True cannot be trained on; use a model that does not stream")
        return await self.ask(request, self._role or agentscope.replying_agent.apply())

    async def ask(self, request: dict[str, Any], agent: str | None) -> Any:
        """Call the engine and record the call by the name of the agent that makes it."""
        extra = {**self._extra_body, **request.pop("extra_body", {})}
        template = {
            **self._extra_body.get("chat_template_kwargs", {}),
            **extra.get("chat_template_kwargs", {}),
        }
        if template:
            extra["chat_template_kwargs"] = template
        if self._free_tool_choice and request.get("tool_choice") == "required":
            # A tool that is named, and `none`, are left as they are.
            request["tool_choice"] = "auto"
        if self._seed is not None:
            # Counted as they are asked: calls side by side must not draw alike.
            request.setdefault("seed", self._seed + next(self._asked))
        if "return_token_logprobs" not in extra:
            request.setdefault("logprobs", True)
        body = {k: v for k, v in {**request, **extra}.items() if not isinstance(v, _ABSENT)}
        # The agent may change its own while it waits for the answer.
        body["messages"] = [dict(message) for message in body.get("messages") or ()]
        began = time.monotonic()
        try:
            response = await self._answer(body)
        except UnicodeEncodeError:
            # From a task or a tool; no tokenizer can read it either.
            body = encodable_tree(body)
            response = await self._answer(body)
        self._recorder.model_seconds += time.monotonic() - began
        self._recorder.record(body, response, agent)
        return response

    async def _answer(self, body: dict[str, Any]) -> Any:
        response = await self._plain.complete(body) if self._plain is not None else None
        if response is not None:
            return response
        # The same call as `chat.completions.create`, without its walk over every message for
        # renamed keys, of which there are none: a quarter of an agent's time.
        try:
            return await self._client.post("/chat/completions", cast_to=ChatCompletion, body=body)
        except openai.BadRequestError as error:
            self._notice(error)
            raise

    async def parse(self, **request: Any) -> Any:
        """Call for a structured answer, unrecorded, as with Trinity's own client."""
        try:
            answer = await self._client.chat.completions.parse(**encodable_tree(request))
        except openai.BadRequestError as error:
            self._notice(error)
            raise
        self._recorder.refused = False
        return answer

    def _notice(self, error: openai.BadRequestError) -> None:
        self._recorder.refused = TOO_LONG in str(error)
        if self._recorder.refused:
            self._recorder.refusals.append(error)

    def __getattr__(self, name: str) -> Any:
        # The rest works, unrecorded.
        return getattr(self._client.chat.completions, name)


class _Chat:
    def __init__(self, completions: Completions) -> None:
        self.completions = completions


class RecordingClient:
    """Stands where AgentScope expects an `openai.AsyncOpenAI`."""

    def __init__(
        self,
        client: Any,
        recorder: Recorder,
        extra_body: dict[str, Any],
        free_tool_choice: bool = False,
        seed: int | None = None,
        asked: Iterator[int] | None = None,
        role: str | None = None,
    ) -> None:
        self._client = client
        self.model_path = client.model_path
        asked = count() if asked is None else asked
        self._made = (client, recorder, extra_body, free_tool_choice, seed, asked)
        self.chat = _Chat(Completions(*self._made, role))

    def as_role(self, role: str) -> "RecordingClient":
        """The same, whose calls are of the agent with this name."""
        return RecordingClient(*self._made, role)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


class RecordedModel(TrinityChatModel):
    """The chat model that a workflow gets."""

    def as_role(self, role: str) -> "RecordedModel":
        """The same model, whose calls count as those of the agent with this name, whoever makes
        them: for rewards by agent. Calls of an AgentScope agent have its name without this."""
        other = copy.copy(self)
        other.client = self.client.as_role(str(role))
        return other


_clients: dict[str, Any] = {}
_prototypes: dict[str, RecordedModel] = {}


def new_client(model: ModelWrapper, shared: bool) -> Any:
    """A client of the engine behind `model`; `shared`: by all code of one event loop."""
    if not model.api_address:
        raise RuntimeError("the rollout engine has no address; was the runner prepared?")
    # A thread may run one event loop after the other, and nobody closes its client: each connection
    # ends with its call.
    limits = (
        openai.DEFAULT_CONNECTION_LIMITS if shared else httpx.Limits(max_keepalive_connections=0)
    )
    http_client = openai.DefaultAsyncHttpxClient(timeout=TIMEOUT, limits=limits)
    client = openai.AsyncOpenAI(
        base_url=f"{model.api_address}/v1",
        api_key=model.api_key,
        timeout=TIMEOUT,
        max_retries=1,
        http_client=http_client,
    )
    client.model_path = model.config.model_path
    client.plain = PlainClient(model.api_address, model.api_key) if shared else None
    return client


async def close_clients() -> None:
    """Close the process's connections; a process that ends need not."""
    await close_each(_clients)
    _prototypes.clear()


async def close_each(clients: dict[str, Any]) -> None:
    """Close clients as `new_client` makes them, and forget them."""
    for client in clients.values():
        await client.plain.close()
        await client.close()
    clients.clear()


def recorded_model(
    model: ModelWrapper,
    generate_kwargs: dict[str, Any],
    shared: bool = True,
    free_tool_choice: bool = False,
    seed: int | None = None,
) -> tuple[RecordedModel, Recorder]:
    """A chat model of the engine behind `model`, and the record of its calls.

    Args:
        model: Trinity's handle of the rollout engine.
        generate_kwargs: Sampling arguments sent with every call.
        shared: Whether to use the process's HTTP client. One belongs to one event loop, so a
            workflow in a thread needs its own.
        free_tool_choice: Whether a tool call that is required is only asked for, so that the
            model samples freely; an agent that gets text instead has to ask again.
        seed: From which an engine that takes seeds draws, so that the same rollout of the same
            weights is the same again; None: from its own.
    """
    address = str(model.api_address)
    if shared and address not in _clients:
        _clients[address] = new_client(model, shared=True)
    client = _clients[address] if shared else new_client(model, shared=False)
    engine = engine_of_type(model.config.engine_type)
    extra_body: dict[str, Any] = dict.fromkeys(engine.asks_for, True)
    if model.config.enable_thinking is not None:
        extra_body["chat_template_kwargs"] = {"enable_thinking": model.config.enable_thinking}
    if model.config.top_k is not None and model.config.top_k > 0:
        extra_body["top_k"] = model.config.top_k
    if address not in _prototypes:
        # Its constructor makes an HTTP client of its own, so it runs once.
        _prototypes[address] = RecordedModel(client)
    recorder = Recorder()
    chat_model = copy.copy(_prototypes[address])
    chat_model.generate_kwargs = dict(generate_kwargs)
    chat_model.client = RecordingClient(
        client, recorder, extra_body, free_tool_choice, seed if engine.takes_seeds else None
    )
    return chat_model, recorder


def auxiliary_model(wrapper: ModelWrapper) -> OpenAIChatModel:
    """A chat model of an auxiliary engine; its calls are not trained on."""
    client = wrapper.get_openai_async_client()
    chat_model = OpenAIChatModel(
        model_name=client.model_path,
        api_key="EMPTY",
        stream=False,
        generate_kwargs=wrapper.generate_kwargs,
    )
    chat_model.client = client
    return chat_model
