"""Turns conversations into prompts: a tokenizer's chat template, and tokens of what it makes.

Most of what an engine renders it has rendered before: whole prompts and pieces are remembered.
"""

import json
import re
from collections import OrderedDict
from typing import Any, Dict, List, Optional, Sequence

from rlagent.backends.embedded.engine.chat import ChatError, normalise, with_tools_in_system

PROMPTS_KEPT = 1024
"""Prompts remembered; the rollouts of a task open with the same one and often go on alike."""
PIECES_KEPT = 4096


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
