"""Chat completions in pieces, as server-sent events: what of a text can be said already.

The drawing is the generation loop's, the events' transport the server's.
"""

import json
from typing import Any, Dict, Iterator, List, Sequence

from rlagent.backends.embedded.engine.chat import BEGIN_CALL

_THOUGHT_BEGIN, _THOUGHT_END = "<think>", "</think>"
_UNFINISHED = "\N{REPLACEMENT CHARACTER}"
"""What a decoder makes of the first bytes of a character."""

DONE = b"data: [DONE]\n\n"


def event(data: Dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(data, ensure_ascii=False).encode("utf-8", "replace") + b"\n\n"


def pieces_of(completion: Dict[str, Any], usage: bool) -> Iterator[Dict[str, Any]]:
    """The chunks of a chat completion that is known whole.

    Args:
        completion: As OpenAI's JSON.
        usage: Whether the last chunk says how many tokens there were.
    """
    head = {k: v for k, v in completion.items() if k not in ("choices", "usage")}
    head["object"] = "chat.completion.chunk"
    for choice in completion["choices"]:
        rest = {k: v for k, v in choice.items() if k not in ("message", "finish_reason")}
        delta = {k: v for k, v in choice["message"].items() if v is not None}
        if calls := delta.get("tool_calls"):
            delta["tool_calls"] = [{"index": i, **call} for i, call in enumerate(calls)]
        first = {"role": delta.pop("role", "assistant"), "content": ""}
        index = choice["index"]
        yield {**head, "choices": [{"index": index, "delta": first, "finish_reason": None}]}
        yield {**head, "choices": [{**rest, "delta": delta, "finish_reason": None}]}
        reason = choice["finish_reason"]
        yield {**head, "choices": [{"index": index, "delta": {}, "finish_reason": reason}]}
    if usage:
        yield {**head, "choices": [], "usage": completion.get("usage")}


class TextStream:
    """What is new of a text that grows, for one response.

    Held back is what may yet become something else: a part of a character, of a text that ends the
    response, of a tool call, which is sent whole.

    Args:
        stops: Texts that end the response.
        calls: Whether tool calls are looked for.
        reasoning: Whether the text begins with thoughts, up to </think>.
    """

    def __init__(self, stops: Sequence[str], calls: bool, reasoning: bool) -> None:
        self._stops = stops
        self._calls = calls
        self._thinks = reasoning
        self._begun = 0
        self._sent = {"reasoning_content": "", "content": ""}

    def grow(self, text: str) -> Dict[str, str]:
        """The delta of a text that is not complete; empty where nothing new can be said."""
        text = text[: len(text) - _held(text, self._stops)].removesuffix(_UNFINISHED)
        delta: Dict[str, str] = {}
        if self._thinks:
            if _THOUGHT_BEGIN.startswith(text.lstrip()):
                return delta
            thought, end, rest = text[len(_begun(text)) :].partition(_THOUGHT_END)
            if not end:
                thought = thought[: len(thought) - _held(thought, [_THOUGHT_END])].rstrip()
            delta |= self._new("reasoning_content", thought.strip() if end else thought.lstrip())
            if not end:
                return delta
            text = rest.lstrip()
        if self._calls:
            text = text.partition(BEGIN_CALL)[0]
            text = text[: len(text) - _held(text, [BEGIN_CALL])].rstrip()
        return delta | self._new("content", text)

    def end(self, message: Dict[str, Any]) -> Dict[str, Any]:
        """The last delta, given the whole message."""
        delta: Dict[str, Any] = {}
        thought, content = message.get("reasoning_content"), message["content"] or ""
        if thought:
            delta |= self._new("reasoning_content", thought)
        elif self._sent["reasoning_content"]:
            # It never ended: what was said as a thought is not said again.
            return self._new("reasoning_content", content[len(_begun(content)) :].strip())
        if message.get("tool_calls"):
            # Of a text with calls the blanks around it are no part.
            self._sent["content"] = self._sent["content"].lstrip()
        delta |= self._new("content", content)
        calls = message.get("tool_calls") or []
        if calls:
            delta["tool_calls"] = [{"index": i, **call} for i, call in enumerate(calls)]
        return delta

    def _new(self, name: str, text: str) -> Dict[str, str]:
        sent = self._sent[name]
        if len(text) <= len(sent) or not text.startswith(sent):
            return {}
        self._sent[name] = text
        return {name: text[len(sent) :]}


def _begun(text: str) -> str:
    """What stands before a thought's first character."""
    blank = text[: len(text) - len(text.lstrip())]
    return blank + _THOUGHT_BEGIN if text.lstrip().startswith(_THOUGHT_BEGIN) else ""


def _held(text: str, ends: Sequence[str]) -> int:
    """Characters at the end of a text with which one of some texts may begin.

    >>> _held("a <tool", ["<tool_call>"]), _held("a <b", ["<tool_call>"])
    (5, 0)
    """
    sizes: List[int] = [
        size for end in ends for size in range(1, len(end)) if text.endswith(end[:size])
    ]
    return max(sizes, default=0)
