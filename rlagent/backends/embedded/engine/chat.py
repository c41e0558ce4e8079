"""Between OpenAI's chat format and text: messages as templates expect them, tool calls read out of
generated text.

Knows nothing of HTTP, models, tokenizers or sampling; prompts are rendered in render.py.
"""

import json
import re
import uuid
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

BEGIN_CALL = "<tool_call>"
_END = re.compile(r"\s*</tool_call>")
_JSON = json.JSONDecoder(strict=False)
_THINK = re.compile(r"^\s*(?:<think>)?(.*?)</think>\s*", re.DOTALL)


class ChatError(ValueError):
    """A conversation that cannot be rendered; the message says why."""


@dataclass(frozen=True)
class ToolCall:
    """A call that was read out of generated text; `arguments` is a JSON object as text."""

    name: str
    arguments: str


def plain_content(content: Any) -> str:
    """A message's content as text: a string, None, or a list of parts; only text parts are kept.

    Raises:
        ChatError: For parts that are not text.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise ChatError(f"message content must be text or a list of parts, not {content!r:.80}")
    texts = []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict) and isinstance(part.get("text"), str):
            texts.append(part["text"])
        else:
            kind = part.get("type") if isinstance(part, dict) else type(part).__name__
            raise ChatError(f"message parts must be text; got {kind}")
    return "".join(texts)


def normalise(messages: Sequence[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """Messages as chat templates expect them: text content, arguments of tool calls as objects.

    Arguments that are not a JSON object stay the text that they are.

    Raises:
        ChatError: For a message without a role, or with content that is not text.
    """
    result = []
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise ChatError(f"every message needs a role: {message!r:.80}")
        clean = {k: v for k, v in message.items() if v is not None and k != "tool_calls"}
        clean["content"] = plain_content(message.get("content"))
        if message.get("tool_calls"):
            clean["tool_calls"] = [_with_object(call) for call in message["tool_calls"]]
        result.append(clean)
    return result


def _with_object(call: Dict[str, Any]) -> Dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise ChatError(f"a tool call needs function.name: {call!r:.80}")
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        try:
            parsed = json.loads(arguments or "{}", strict=False)
        except json.JSONDecodeError:
            parsed = arguments
        arguments = parsed if isinstance(parsed, dict) else arguments
    return {**call, "function": {**function, "arguments": arguments}}


def with_tools_in_system(
    messages: Sequence[Dict[str, Any]], tools: Sequence[Dict[str, Any]]
) -> List[Dict[str, Any]]:
    """Tools, calls and results as plain text, for templates that know none of them."""
    lines = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
    said = (
        "# Tools\n\nYou may call one or more functions. Their signatures are within "
        f"<tools></tools>:\n<tools>\n{lines}\n</tools>\n\n"
        "For each call, return a JSON object with the function's name and arguments within "
        '<tool_call></tool_call>:\n<tool_call>\n{"name": <name>, "arguments": <object>}\n'
        "</tool_call>"
    )
    result = [dict(message) for message in messages]
    if result and result[0]["role"] == "system":
        result[0]["content"] = f"{result[0]['content']}\n\n{said}"
    else:
        result.insert(0, {"role": "system", "content": said})
    for message in result:
        if message["role"] == "tool":
            message["role"] = "user"
            message["content"] = f"<tool_response>\n{message['content']}\n</tool_response>"
        calls = [render_call(call["function"]) for call in message.pop("tool_calls", ())]
        message["content"] = "\n".join(filter(None, [message["content"], *calls]))
    return result


def render_call(function: Dict[str, Any]) -> str:
    """A tool call as text, as Qwen's templates write it."""
    arguments = function["arguments"]
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    name = json.dumps(function["name"], ensure_ascii=False)
    return f'<tool_call>\n{{"name": {name}, "arguments": {arguments}}}\n</tool_call>'


def parse_calls(text: str, names: Sequence[str]) -> Tuple[str, List[ToolCall]]:
    """Read tool calls out of generated text.

    Text with any call that is malformed, or of an unknown function, has no calls at all: what
    the model wrote is then all content, so that a caller can see it.

    Returns:
        (content around the calls, the calls in order).
    """
    calls, rest, place = [], "", 0
    while (begin := text.find(BEGIN_CALL, place)) >= 0:
        found = _read_call(text, begin + len(BEGIN_CALL), names)
        if found is None:
            return text, []
        call, end = found
        calls.append(call)
        rest += text[place:begin]
        place = end
    return ((rest + text[place:]).strip(), calls) if calls else (text, [])


def _read_call(text: str, place: int, names: Sequence[str]) -> Optional[Tuple[ToolCall, int]]:
    """The call whose JSON starts at `place`, and where the text goes on; None: there is none.

    Searched for as JSON rather than up to the closing tag, which a string may contain.
    """
    while place < len(text) and text[place].isspace():
        place += 1
    try:
        value, place = _JSON.raw_decode(text, place)
    except json.JSONDecodeError:
        return None
    closing = _END.match(text, place)
    if closing is None or not isinstance(value, dict) or value.get("name") not in names:
        return None
    arguments = value.get("arguments", {})
    if not isinstance(arguments, dict):
        return None
    return ToolCall(value["name"], json.dumps(arguments, ensure_ascii=False)), closing.end()


def split_reasoning(text: str) -> Tuple[Optional[str], str]:
    """(reasoning, rest) of text that thinks first, between <think> tags; (None, text) otherwise."""
    match = _THINK.match(text)
    if match is None:
        return None, text
    return match.group(1).strip(), text[match.end() :]


def assistant_message(
    text: str, names: Sequence[str], finish_reason: str, read_calls: bool, reasoning: bool
) -> Tuple[Dict[str, Any], str]:
    """The OpenAI message of a generated text.

    Args:
        text: Without special tokens.
        names: Functions that may be called.
        finish_reason: `stop` or `length`, of the generator.
        read_calls: Whether tool calls are looked for.
        reasoning: Whether text before </think> is split off as reasoning_content.

    Returns:
        (message, finish_reason); `tool_calls` as the reason when there are calls.
    """
    message: Dict[str, Any] = {"role": "assistant"}
    if reasoning:
        thought, text = split_reasoning(text)
        message["reasoning_content"] = thought
    content, calls = parse_calls(text, names) if read_calls else (text, [])
    message["content"] = (content or None) if calls else content
    if not calls:
        return message, finish_reason
    message["tool_calls"] = [
        {
            "id": f"call_{uuid.uuid4().hex[:24]}",
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for call in calls
    ]
    return message, "tool_calls" if finish_reason == "stop" else finish_reason
