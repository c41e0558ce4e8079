"""Turns recorded messages into turns a person can read: text, thoughts, tool calls, results.

Reads OpenAI-style messages and Qwen-style text; showing them is left to run.html.j2.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlagent.base.texts import encodable_tree
from rlagent.records.calls import conversations

TAGGED = re.compile(r"<(tool_call|think)>(.*?)(?:</\1>|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A piece of a turn: kind is text, thought, call or result."""

    kind: str
    text: str
    # The tool's name, of a call or a result.
    name: str = ""


@dataclass(frozen=True)
class Turn:
    """What one role said at once: system, user, assistant or tool; or what happened in an
    environment."""

    role: str
    blocks: tuple[Block, ...]

    @property
    def title(self) -> str:
        """The role, of a result with its tool."""
        name = next((b.name for b in self.blocks if b.kind == "result" and b.name), "")
        return f"{self.role}: {name}" if name else self.role


def read_turns(messages: Sequence[dict[str, Any]]) -> list[Turn]:
    """The turns of a conversation; empty ones are left out.

    Args:
        messages: OpenAI-style: role, content (text or a list of parts), tool_calls, name.
    """
    turns = []
    for message in messages or []:
        role = str(message.get("role", "?"))
        blocks: list[Block] = []
        thought = message.get("reasoning_content") or message.get("reasoning")
        if thought:
            blocks.append(Block("thought", str(thought).strip()))
        text = content_text(message.get("content"))
        if role == "tool":
            blocks.append(Block("result", text.strip(), str(message.get("name") or "")))
        elif role == "assistant":
            blocks += _tagged_blocks(text)
        elif text.strip():
            blocks.append(Block("text", text.strip()))
        blocks += [_call_block(call) for call in message.get("tool_calls") or []]
        if blocks:
            turns.append(Turn(role, tuple(blocks)))
    return turns


def conversations_of(row: Mapping[str, Any]) -> list[tuple[str, list[Turn]]]:
    """The conversations of a recorded rollout, each with a title of its own,
    and what happened in environments meanwhile.

    Args:
        row: As the run folder keeps it.
    """
    found = conversations(row, environment=True)
    return [
        (
            f"{one.agent or 'Conversation'} ({place} of {len(found)})",
            read_turns(one.messages),
        )
        for place, one in enumerate(found, start=1)
    ]


def content_text(content: Any) -> str:
    """The text of a message's content; parts that are no text are named in brackets."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(_part_text(part) for part in content)
    return json.dumps(content, ensure_ascii=False, default=str)


def _part_text(part: Any) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict):
        for key in ("text", "output"):
            if key in part:
                return content_text(part[key])
        return f"[{part.get('type', 'part')}]"
    return str(part)


def _tagged_blocks(text: str) -> list[Block]:
    """Split a model's raw text at its <think> and <tool_call> tags, closed or cut off."""
    blocks, at = [], 0
    for match in TAGGED.finditer(text):
        before = text[at : match.start()].strip()
        if before:
            blocks.append(Block("text", before))
        inner = match[2].strip()
        if match[1] == "think":
            blocks.append(Block("thought", inner))
        else:
            blocks.append(_raw_call(inner))
        at = match.end()
    rest = text[at:].strip()
    if rest:
        blocks.append(Block("text", rest))
    return [block for block in blocks if block.text or block.name]


def _raw_call(inner: str) -> Block:
    try:
        call = _read(inner)
        return Block("call", call_text(call["arguments"]), str(call["name"]))
    except (ValueError, KeyError, TypeError):
        # What a model writes need not be a call; it is shown as it stands.
        return Block("call", inner, "")


def _read(text: str) -> Any:
    """A JSON value that a model wrote: nested too deep for Python it is none."""
    try:
        # Escapes such as "\\ud800" name what UTF-8 cannot hold.
        return encodable_tree(json.loads(text))
    except RecursionError:
        raise ValueError("nested too deep") from None


def _call_block(call: dict[str, Any]) -> Block:
    function = call.get("function") or call
    return Block("call", call_text(function.get("arguments")), str(function.get("name", "")))


def call_text(arguments: Any) -> str:
    """Arguments as `name=value, ...`; as they stand when they are no JSON object."""
    if isinstance(arguments, str):
        try:
            arguments = _read(arguments)
        except ValueError:
            return arguments
    if isinstance(arguments, dict):
        return ", ".join(
            f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in arguments.items()
        )
    return "" if arguments is None else json.dumps(arguments, ensure_ascii=False)


def split_opening(turns: Sequence[Turn]) -> tuple[list[Turn], list[Turn]]:
    """Split off what the agent was given (up to its first own turn) from what it then did."""
    for index, turn in enumerate(turns):
        if turn.role == "assistant":
            return list(turns[:index]), list(turns[index:])
    return list(turns), []
