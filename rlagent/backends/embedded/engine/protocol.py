"""What a chat completion request may ask for: reading and checking its JSON.

Pure: no torch, no tokenizer, no HTTP. server.py answers, chat.py renders.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Tuple


class BadRequestError(ValueError):
    """A request that cannot be served as it is; answered with 400 and this message.

    Attributes:
        param: The key at fault, None when it is not one key.
    """

    def __init__(self, message: str, param: Optional[str] = None) -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True)
class SamplingParams:
    """How one response is drawn.

    Attributes:
        max_tokens: Most tokens of the response, the end token included.
        temperature: 0 takes the likeliest token; log-probabilities are then those of
            temperature 1, as in vLLM.
        top_p: In (0, 1]; 1 keeps every token.
        top_k: Keeps the k likeliest tokens; -1 or 0 keeps every token.
        min_tokens: End tokens are not drawn before this many tokens.
        stop: Texts that end the response; the text is cut before them.
        ignore_eos: Go on after an end token.
        seed: Draw from a generator of this seed; None: from the engine's.
        top_logprobs: Likeliest alternatives reported for each token.
    """

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = -1
    min_tokens: int = 0
    stop: Tuple[str, ...] = ()
    ignore_eos: bool = False
    seed: Optional[int] = None
    top_logprobs: int = 0

    @property
    def restricts(self) -> bool:
        """Whether some tokens of the model's distribution cannot be drawn."""
        return self.top_p < 1.0 or self.top_k > 0 or self.min_tokens > 0


@dataclass(frozen=True)
class Defaults:
    """What a request gets that does not say.

    Attributes:
        max_tokens: None: what the model's length leaves.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = -1
    max_tokens: Optional[int] = None
    min_tokens: int = 0
    ignore_eos: bool = False


@dataclass(frozen=True)
class ChatRequest:
    """A checked request.

    Attributes:
        tool_choice: none, auto or required; a named function is `required` with `only`.
        only: The only function that may be called.
        json_output: Whether the response must be JSON of `schema`.
        schema: JSON schema of the response; None: any JSON.
        max_tokens: None: what the model's length leaves.
        return_token_logprobs: Whether to report the drawn tokens' log-probabilities and texts as
            plain lists, `token_logprobs` and `token_texts`: a fraction of the size of OpenAI's
            form, which describes each token.
        stream: Whether to answer in pieces, as server-sent events.
        stream_usage: Whether the last of them says how many tokens there were.
        params: How to draw; its max_tokens is not final, see `max_tokens`.
    """

    messages: List[Dict[str, Any]]
    params: SamplingParams
    max_tokens: Optional[int]
    tools: List[Dict[str, Any]] = field(default_factory=list)
    tool_choice: str = "none"
    only: Optional[str] = None
    parallel_tool_calls: bool = True
    json_output: bool = False
    schema: Optional[Dict[str, Any]] = None
    n: int = 1
    logprobs: bool = False
    return_token_ids: bool = False
    return_token_logprobs: bool = False
    template_arguments: Dict[str, Any] = field(default_factory=dict)
    stream: bool = False
    stream_usage: bool = False

    @property
    def names(self) -> List[str]:
        """Functions that may be called."""
        return [tool["function"]["name"] for tool in self.tools]


_UNSERVED = {
    "logit_bias": "logit_bias is not served",
    "presence_penalty": "presence_penalty is not served; leave it at 0",
    "frequency_penalty": "frequency_penalty is not served; leave it at 0",
    "min_p": "min_p is not served; leave it at 0",
    "prompt_logprobs": "prompt_logprobs are not served",
    "use_beam_search": "beam search is not served",
}


def parse_chat_request(body: Any, defaults: Defaults) -> ChatRequest:
    """Check the JSON of a /v1/chat/completions request.

    Unknown keys are ignored, as OpenAI-compatible servers do; known ones that cannot be honoured
    are refused.

    Raises:
        BadRequestError: With the first thing that is wrong.
    """
    if not isinstance(body, dict):
        raise BadRequestError("the body must be a JSON object")
    for key, reason in _UNSERVED.items():
        if body.get(key):
            raise BadRequestError(reason, key)
    if _number(body, "repetition_penalty", 1.0, 0.0) != 1.0:
        raise BadRequestError(
            "repetition_penalty is not served; leave it at 1", "repetition_penalty"
        )
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequestError("messages must be a list of at least one message", "messages")
    tools = _tools(body)
    tool_choice, only = _tool_choice(body, [t["function"]["name"] for t in tools])
    json_output, schema = _response_format(body)
    if json_output and tool_choice == "required":
        raise BadRequestError(
            "response_format and a required tool call exclude each other", "response_format"
        )
    key = "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
    max_tokens = _integer(body, key, defaults.max_tokens, 1)
    logprobs = _boolean(body, "logprobs", False)
    stream, stream_usage = parse_streaming(body)
    top_logprobs = _integer(body, "top_logprobs", 0, 0, 20)
    arguments = body.get("chat_template_kwargs") or {}
    if not isinstance(arguments, dict):
        raise BadRequestError("chat_template_kwargs must be an object", "chat_template_kwargs")
    return ChatRequest(
        messages=messages,
        tools=tools,
        tool_choice=tool_choice,
        only=only,
        parallel_tool_calls=_boolean(body, "parallel_tool_calls", True),
        json_output=json_output,
        schema=schema,
        max_tokens=max_tokens,
        n=_integer(body, "n", 1, 1, 1024),
        logprobs=logprobs,
        return_token_ids=_boolean(body, "return_token_ids", False),
        return_token_logprobs=_boolean(body, "return_token_logprobs", False),
        template_arguments=arguments,
        stream=stream,
        stream_usage=stream_usage,
        params=SamplingParams(
            max_tokens=max_tokens or 1,
            temperature=_number(body, "temperature", defaults.temperature, 0.0),
            top_p=_number(body, "top_p", defaults.top_p, 0.0, 1.0, open_low=True),
            top_k=_integer(body, "top_k", defaults.top_k, -1),
            min_tokens=_integer(body, "min_tokens", defaults.min_tokens, 0),
            stop=_stop(body),
            ignore_eos=_boolean(body, "ignore_eos", defaults.ignore_eos),
            seed=_integer(body, "seed", None, -(2**63), 2**63 - 1),
            top_logprobs=top_logprobs if logprobs else 0,
        ),
    )


def _tools(body: Dict[str, Any]) -> List[Dict[str, Any]]:
    tools = body.get("tools")
    if tools is None:
        return []
    if not isinstance(tools, list):
        raise BadRequestError("tools must be a list", "tools")
    names = []
    for tool in tools:
        function = tool.get("function") if isinstance(tool, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(function, dict) or not isinstance(name, str) or not name:
            raise BadRequestError(f"a tool needs a function with a name: {tool!r:.80}", "tools")
        parameters = function.get("parameters")
        if parameters is not None and not isinstance(parameters, dict):
            raise BadRequestError(f"parameters of {name} must be a JSON schema object", "tools")
        names.append(name)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadRequestError(f"tools named twice: {', '.join(twice)}", "tools")
    return tools


def _tool_choice(body: Dict[str, Any], names: List[str]) -> Tuple[str, Optional[str]]:
    choice = body.get("tool_choice")
    if choice is None:
        return ("auto" if names else "none"), None
    if choice in ("none", "auto"):
        return (choice if names else "none"), None
    known = f"tools given: {', '.join(names) or 'none'}"
    if choice == "required":
        if not names:
            raise BadRequestError("tool_choice is required but there are no tools", "tool_choice")
        return "required", None
    if isinstance(choice, dict) and choice.get("type") == "function":
        function = choice.get("function")
        name = function.get("name") if isinstance(function, dict) else None
        if name not in names:
            raise BadRequestError(f"tool_choice names {name!r}; {known}", "tool_choice")
        return "required", name
    raise BadRequestError(
        f"tool_choice {choice!r:.80} is none of none, auto, required or a named function",
        "tool_choice",
    )


def _response_format(body: Dict[str, Any]) -> Tuple[bool, Optional[Dict[str, Any]]]:
    wanted = body.get("response_format")
    if wanted is None:
        return False, None
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "text":
        return False, None
    if kind == "json_object":
        return True, None
    if kind == "json_schema":
        described = wanted.get("json_schema")
        schema = described.get("schema") if isinstance(described, dict) else None
        if not isinstance(schema, dict):
            raise BadRequestError(
                "response_format.json_schema.schema must be an object", "response_format"
            )
        return True, schema
    raise BadRequestError(
        "response_format.type must be text, json_object or json_schema", "response_format"
    )


def parse_streaming(body: Dict[str, Any]) -> Tuple[bool, bool]:
    """Whether to answer in pieces, and whether the last of them says how many tokens there were.

    Raises:
        BadRequestError: One of the two is asked for in another form.
    """
    stream = _boolean(body, "stream", False)
    options = body.get("stream_options")
    if options is None:
        return stream, False
    if not stream or not isinstance(options, dict):
        raise BadRequestError("stream_options is an object, for stream=true only", "stream_options")
    return stream, _boolean(options, "include_usage", False)


def _stop(body: Dict[str, Any]) -> Tuple[str, ...]:
    stop = body.get("stop")
    if stop is None:
        return ()
    texts = [stop] if isinstance(stop, str) else stop
    if not isinstance(texts, list) or not all(isinstance(t, str) and t for t in texts):
        raise BadRequestError("stop must be a text or a list of texts, none of them empty", "stop")
    return tuple(texts)


def _boolean(body: Dict[str, Any], key: str, default: bool) -> bool:
    value = body.get(key)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise BadRequestError(f"{key} must be true or false, not {value!r:.80}", key)
    return value


def _integer(
    body: Dict[str, Any],
    key: str,
    default: Any,
    low: int,
    high: Optional[int] = None,
) -> Any:
    value = body.get(key)
    if value is None:
        return default
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        limits = f"at least {low}" if high is None else f"{low} to {high}"
        raise BadRequestError(f"{key} must be an integer, {limits}; not {value!r:.80}", key)
    return value


def _number(
    body: Dict[str, Any],
    key: str,
    default: float,
    low: float,
    high: float = math.inf,
    open_low: bool = False,
) -> float:
    value = body.get(key)
    if value is None:
        return default
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    fits = number and math.isfinite(value) and low <= value <= high
    if not fits or (open_low and value == low):
        limits = f"above {low:g}" if open_low else f"at least {low:g}"
        limits += "" if high == math.inf else f" and at most {high:g}"
        raise BadRequestError(f"{key} must be a number {limits}; not {value!r:.80}", key)
    return float(value)
