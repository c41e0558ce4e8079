"""Which tokens of a conversation are learnt: what the assistant says, and ends its turns with.

A chat template marks them with `{% generation %}`, and is followed token by token, as TRL does.
Where it does not, each turn is what the template adds to the conversation before it, up to its
end-of-turn token, as in the templates that TRL marks for training. A template that renders past
turns otherwise than the present one, as those of thinking models do, makes a sequence of each turn,
as sampling does.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlagent.config.conversations import Conversation

_MARKED = re.compile(r"\{%-?\s*generation\s*-?%\}")
_TOOLS = re.compile(r"\btools\b")


class NoMaskError(ValueError):
    """The tokens to learn of a conversation cannot be found; the message says why."""


@dataclass(frozen=True)
class Learnt:
    """A sequence to learn from.

    Args:
        tokens: Token ids.
        learnt: Of each, whether it is learnt.
    """

    tokens: list[int]
    learnt: list[bool]


class Masks:
    """What is learnt of conversations with one tokenizer.

    Args:
        tokenizer: Of transformers, a fast one, with a chat template.
        arguments: Keyword arguments of the template, such as enable_thinking.
        template: In the place of the tokenizer's; None: the tokenizer's.
    """

    def __init__(
        self,
        tokenizer: Any,
        arguments: Mapping[str, Any] | None = None,
        template: str | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._arguments = dict(arguments or {})
        self._template = template
        if not getattr(tokenizer, "is_fast", False):
            raise NoMaskError("its tokenizer is not of the fast kind, which knows where tokens lie")
        if not (template or tokenizer.chat_template):
            raise NoMaskError("its tokenizer has no chat template")

    def __call__(self, given: Conversation) -> list[Learnt]:
        """The sequences of a conversation, most often one.

        Raises:
            NoMaskError: It cannot be rendered, or nothing of it is the assistant's.
        """
        tools = given.tools or None
        template = self._template or self._tokenizer.get_chat_template(tools=tools)
        if _about_tools(given) and not _TOOLS.search(template):
            raise NoMaskError("the chat template shows no tools, which the conversation has")
        if _MARKED.search(template):
            found = [self._by_marks(given.messages, tools)]
        else:
            found = self._by_prefixes(given.messages, tools)
        if not any(any(each.learnt) for each in found):
            raise NoMaskError("the chat template marks no token as the assistant's")
        return found

    def _by_marks(self, messages: list[dict[str, Any]], tools: Any) -> Learnt:
        encoded = self._render(
            messages, tools, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        return Learnt(list(encoded["input_ids"]), [bool(m) for m in encoded["assistant_masks"]])

    def _by_prefixes(self, messages: list[dict[str, Any]], tools: Any) -> list[Learnt]:
        turns = []
        for place, message in enumerate(messages):
            if message["role"] == "assistant":
                turns.append(self._turn(messages[:place], messages[: place + 1], tools))
        whole = self._render(messages, tools, tokenize=False)
        if all(whole.startswith(text[:end]) for text, _, end in turns):
            return [self._encode(whole, [(start, end) for _, start, end in turns])]
        return [self._encode(text[:end], [(start, end)]) for text, start, end in turns]

    def _turn(
        self, before: list[dict[str, Any]], through: list[dict[str, Any]], tools: Any
    ) -> tuple[str, int, int]:
        """The text up to a turn's end, and where the turn begins and ends in it."""
        prompt = self._render(before, tools, tokenize=False, add_generation_prompt=True)
        text = self._render(through, tools, tokenize=False)
        if not text.startswith(prompt):
            raise NoMaskError(
                "the chat template renders a turn otherwise than it opens one "
                f"(message {len(through)}), so that its text cannot be separated from the prompt"
            )
        return text, len(prompt), self._end(text, len(prompt))

    def _end(self, text: str, start: int) -> int:
        """Where the turn ends that a text closes with: what stands after it is never sampled.

        That is behind the end-of-sequence token or, as with base models, whose own is another,
        behind a special token that only blanks follow.
        """
        ended = self._tokenizer.eos_token
        if ended and (last := text.rfind(ended, start)) >= 0:
            return last + len(ended)
        said = text[start:].rstrip()
        known = self._tokenizer.added_tokens_decoder.values()
        closed = any(each.special and said.endswith(each.content) for each in known)
        return start + len(said) if closed else len(text)

    def _render(self, messages: list[dict[str, Any]], tools: Any, **how: Any) -> Any:
        try:
            return self._tokenizer.apply_chat_template(
                messages, tools=tools, chat_template=self._template, **self._arguments, **how
            )
        # Templates raise whatever they like.
        except Exception as error:
            raise NoMaskError(f"the chat template refuses the conversation: {error}") from error

    def _encode(self, text: str, spans: Sequence[tuple[int, int]]) -> Learnt:
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        inside = [
            any(start <= first and last <= end and first < last for start, end in spans)
            for first, last in encoded["offset_mapping"]
        ]
        return Learnt(list(encoded["input_ids"]), inside)


def _about_tools(given: Conversation) -> bool:
    calls = any(m["role"] == "tool" or m.get("tool_calls") for m in given.messages)
    return bool(given.tools) or calls
