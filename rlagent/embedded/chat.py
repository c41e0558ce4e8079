"""Between OpenAI's chat format and tokens: rendering prompts, reading tool calls out of text.

Knows nothing of HTTP, models or sampling; needs a tokenizer only to render.
"""

import json
import re
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

PROMPTS_KEPT = 1024
"""Prompts remembered; the rollouts of a task open with the same one and often go on alike."""
PIECES_KEPT = 4096

_BEGIN = "<tool_call>"
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
    """A message's content as text: a string, None, or a list of parts of which text is kept.

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


class PieceEncoder:
    """Encodes text piece by piece between special tokens, each distinct piece once.

    The conversations of a step consist of the same system prompt and tools and of few distinct
    questions, calls and results. Where a tokenizer does not treat pieces as it treats the whole,
    the whole is encoded.

    Args:
        tokenizer: Of transformers.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._known: Dict[str, List[int]] = {}
        marks = [
            token.content
            for token in tokenizer.added_tokens_decoder.values()
            # Others take the blanks around them or are looked for in normalised text.
            if token.special and not (token.lstrip or token.rstrip or token.single_word)
        ]
        longest_first = sorted(marks, key=len, reverse=True)
        self._marks = re.compile(f"({'|'.join(map(re.escape, longest_first))})") if marks else None
        if self._marks is not None and not all(map(self._agrees, self._probes(marks[:16]))):
            self._marks = None
        self._known.clear()

    def encode(self, text: str) -> List[int]:
        """Token ids of a text, without any that the tokenizer would add."""
        if self._marks is None:
            return self._whole(text)
        tokens: List[int] = []
        for piece in self._marks.split(text):
            known = self._known.get(piece)
            if known is None:
                if len(self._known) >= PIECES_KEPT:
                    self._known.clear()
                known = self._known[piece] = self._whole(piece)
            tokens += known
        return tokens

    def _whole(self, text: str) -> List[int]:
        return self._tokenizer.encode(text, add_special_tokens=False) if text else []

    def _agrees(self, text: str) -> bool:
        return self.encode(text) == self._whole(text)

    @staticmethod
    def _probes(marks: Sequence[str]) -> List[str]:
        words = ("user\nA shop has 12 boxes. ", " x", '\n\n{"a": 1}\n', "é  ", "")
        return [f"{before}{mark}{after}" for mark in marks for before in words for after in words]


class ChatRenderer:
    """Turns conversations into prompts through a tokenizer's chat template.

    Args:
        tokenizer: Of transformers, with a chat template.
        template: Used instead of the tokenizer's; None: the tokenizer's.
        defaults: Keyword arguments of the template, such as enable_thinking.
    """

    def __init__(
        self, tokenizer: Any, template: Optional[str] = None, defaults: Optional[Dict] = None
    ) -> None:
        self.tokenizer = tokenizer
        self.template = template
        self.defaults = defaults or {}
        self.knows_tools = self._template_uses_tools()
        self._encoder = PieceEncoder(tokenizer)
        self._known: OrderedDict[str, List[int]] = OrderedDict()
        self._reads_ids = self._template_reads_ids()

    def prompt(
        self,
        messages: Sequence[Dict[str, Any]],
        tools: Optional[Sequence[Dict[str, Any]]] = None,
        arguments: Optional[Dict[str, Any]] = None,
    ) -> List[int]:
        """Token ids of a conversation, ready for the assistant's next message.

        A conversation that ends with an assistant message is continued in that message.

        Raises:
            ChatError: If the template refuses the conversation.
        """
        key = json.dumps([[self._key(m) for m in messages], tools, arguments])
        known = self._known.get(key)
        if known is None:
            known = self._encode(self.text(messages, tools, arguments))
            if len(self._known) >= PROMPTS_KEPT:
                self._known.popitem(last=False)
            self._known[key] = known
        else:
            self._known.move_to_end(key)
        return list(known)

    def text(
        self,
        messages: Sequence[Dict[str, Any]],
        tools: Optional[Sequence[Dict[str, Any]]] = None,
        arguments: Optional[Dict[str, Any]] = None,
    ) -> str:
        """The rendered conversation; see prompt."""
        clean = normalise(messages)
        if not clean:
            raise ChatError("messages must not be empty")
        if not self.knows_tools and (tools or any(_about_tools(m) for m in clean)):
            clean = with_tools_in_system(clean, tools or [])
            tools = None
        goes_on = clean[-1]["role"] == "assistant"
        try:
            return self.tokenizer.apply_chat_template(
                clean,
                tools=list(tools) if tools else None,
                tokenize=False,
                add_generation_prompt=not goes_on,
                continue_final_message=goes_on,
                chat_template=self.template,
                **{**self.defaults, **(arguments or {})},
            )
        except Exception as error:  # Templates raise whatever they like; the caller is to blame.
            raise ChatError(f"the chat template refused the messages: {error}") from error

    def _encode(self, text: str) -> List[int]:
        try:
            tokens = self._encoder.encode(text)
        except (TypeError, UnicodeError) as error:
            raise ChatError(f"the messages are not valid text: {error}") from error
        if not tokens:
            raise ChatError("the chat template made an empty prompt of the messages")
        return tokens

    def _key(self, message: Any) -> Any:
        """What of a message the prompt depends on."""
        if self._reads_ids or not isinstance(message, dict):
            return message
        message = {k: v for k, v in message.items() if k != "tool_call_id"}
        calls = message.get("tool_calls")
        if isinstance(calls, list):
            message["tool_calls"] = [
                {k: v for k, v in call.items() if k != "id"} if isinstance(call, dict) else call
                for call in calls
            ]
        return message

    def _template_reads_ids(self) -> bool:
        """Whether a prompt depends on the ids of tool calls, which differ in every rollout."""

        def conversation(number: str) -> List[Dict[str, Any]]:
            call = {
                "id": number,
                "type": "function",
                "function": {"name": "f", "arguments": "{}"},
            }
            return [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "", "tool_calls": [call]},
                {"role": "tool", "tool_call_id": number, "name": "f", "content": "b"},
            ]

        try:
            return self.text(conversation("call_1")) != self.text(conversation("call_2"))
        except ChatError:
            # It knows no such conversation: nothing is gained by guessing.
            return True

    def _template_uses_tools(self) -> bool:
        template = self.template or self.tokenizer.chat_template or ""
        if isinstance(template, dict):
            template = "".join(template.values())
        return bool(re.search(r"\btools\b", template))


def _about_tools(message: Dict[str, Any]) -> bool:
    return message["role"] == "tool" or bool(message.get("tool_calls"))


def parse_calls(text: str, names: Sequence[str]) -> Tuple[str, List[ToolCall]]:
    """Read tool calls out of generated text.

    Text with any call that is malformed, or of an unknown function, has no calls at all: what
    the model wrote is then all content, so that a caller can see it.

    Returns:
        (content around the calls, the calls in order).
    """
    calls, rest, place = [], "", 0
    while (begin := text.find(_BEGIN, place)) >= 0:
        found = _read_call(text, begin + len(_BEGIN), names)
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
