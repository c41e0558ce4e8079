"""A rollout's model calls as its record keeps them: all, and what they share only once.

An agent sends its whole conversation with every call. Of each call the record holds what is new
since the earlier call that it begins like; `conversations` puts them together again. Pure.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Message = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """One call of the model.

    Args:
        messages: What was sent, OpenAI-style.
        reply: The answer, in the same form.
        agent: Name of the agent that called; None where it is not known.
        tools: The tools that were offered, OpenAI-style.
        prompt_tokens: Tokens of what was sent.
        response_tokens: Tokens of the answer.
        finish: Why the answer ended: stop, length, tool_calls.
        tokens: The answer token by token, as texts; empty where the engine does not say.
        logprobs: The natural logarithm of the probability with which each was drawn.
    """

    messages: Sequence[Message]
    reply: Message
    agent: str | None = None
    tools: Sequence[Mapping[str, Any]] = ()
    prompt_tokens: int = 0
    response_tokens: int = 0
    finish: str = ""
    tokens: Sequence[str] = ()
    logprobs: Sequence[float] = ()


@dataclass
class Conversation:
    """What one agent and the model said, each message once, the model's answers included."""

    agent: str | None
    messages: list[Message] = field(default_factory=list)
    calls: int = 0
    # Which tools its latest call with any was offered, see `tools_id`; empty: none.
    offered: str = ""


def compact(calls: Sequence[Call]) -> list[dict[str, Any]]:
    """The calls in their order, as they are recorded.

    Returns:
        For each `agent`, `conversation` (from 0; a call that goes on from another one's whole
        conversation belongs to the same, the first to do so), `after` and `keeps` (the call
        whose first `keeps` messages, its answer counted, this one begins with; none: it begins
        by itself), `messages` (those behind), `response`, `prompt_tokens`, `response_tokens`,
        `finish`, `tools` (their names) and `offered` (their `tools_id`) where they are others than
        in that call, and `tokens` and `logprobs` where they are known.
    """
    # By call: what identifies its messages, the answer included.
    known: list[list[str]] = []
    numbers: list[int] = []
    open_ends: set[int] = set()
    found = []
    for index, call in enumerate(calls):
        keys = [_key(message) for message in call.messages]
        after, keeps = _longest(keys, known)
        goes_on = after in open_ends and keeps == len(known[after])
        goes_on = goes_on and calls[after].agent == call.agent
        if goes_on:
            open_ends.discard(after)
        number = numbers[after] if goes_on else len(set(numbers))
        row: dict[str, Any] = {"agent": call.agent, "conversation": number}
        if keeps:
            row |= {"after": after, "keeps": keeps}
        row |= {
            "messages": list(call.messages[keeps:]),
            "response": call.reply,
            "prompt_tokens": call.prompt_tokens,
            "response_tokens": call.response_tokens,
            "finish": call.finish,
        }
        if list(call.tools) != list(calls[after].tools if keeps else ()):
            names = [str(tool["function"]["name"]) for tool in call.tools]
            row |= {"tools": names, "offered": tools_id(call.tools)}
        if call.tokens:
            row |= {"tokens": list(call.tokens), "logprobs": list(call.logprobs)}
        found.append(row)
        known.append([*keys, _key(call.reply)])
        numbers.append(number)
        open_ends.add(index)
    return found


def conversations(row: Mapping[str, Any], environment: bool = False) -> list[Conversation]:
    """The conversations of a rollout, in the order in which they began.

    Args:
        row: A recorded rollout; those of earlier versions hold the last call's messages only.
        environment: Whether what happened in environments, and what an agent earned, stand between
            the messages, where they happened, with the roles `environment` and `reward`. The model
            has not seen them so.
    """
    recorded = row.get("calls")
    if not isinstance(recorded, list):
        messages = row.get("messages") or []
        return [Conversation(None, list(messages), int(recorded or 0))] if messages else []
    said: list[list[Message]] = []
    offered: list[str] = []
    found: dict[int, Conversation] = {}
    # Where the answer of each call stands: number of its conversation, and place in it.
    answers: list[tuple[int, int]] = []
    for call in recorded:
        before = said[call["after"]][: call["keeps"]] if "after" in call else []
        said.append([*before, *call["messages"], call["response"]])
        one = found.setdefault(call["conversation"], Conversation(call.get("agent")))
        one.messages, one.calls = said[-1], one.calls + 1
        offered.append(call.get("offered", offered[call["after"]] if "after" in call else ""))
        one.offered = offered[-1] or one.offered
        answers.append((call["conversation"], len(said[-1]) - 1))
    if environment and answers:
        for after, message in reversed(_events(row, recorded)):
            number, place = answers[max(0, after - 1)]
            whole = found[number].messages
            found[number].messages = [
                *whole[: place + bool(after)],
                message,
                *whole[place + bool(after) :],
            ]
    return list(found.values())


def _events(
    row: Mapping[str, Any], calls: Sequence[Mapping[str, Any]]
) -> list[tuple[int, Message]]:
    """What happened, in its order, each with the number of calls made before."""
    happened = [
        (
            min(int(event["after"]), len(calls)),
            {"role": "environment", "content": event_text(event)},
        )
        for event in row.get("environment") or []
    ]
    earned = [
        (number, {"role": "reward", "content": f"{call['reward']:g}"})
        for number, call in enumerate(calls, 1)
        if "reward" in call
    ]
    # Of one call, what happened before what it earned in all.
    return sorted([*happened, *earned], key=lambda event: event[0])


def event_text(event: Mapping[str, Any]) -> str:
    """What happened in an environment, for people.

    >>> event_text({"environment": "Lake", "action": "up", "observation": "ice", "reward": 0.0})
    'Lake.step("up"): reward 0\\nice'
    """
    name = event.get("environment", "environment")
    if "action" in event:
        asked = json.dumps(event["action"], ensure_ascii=False, default=str)
        first = f"{name}.step({asked}): reward {event.get('reward', 0.0):g}"
    else:
        first = f"{name}.reset()"
    if event.get("done"):
        first += ", done"
    seen = event.get("observation")
    if not isinstance(seen, str):
        seen = json.dumps(seen, ensure_ascii=False, default=str)
    return f"{first}\n{seen}"


def tools_offered(calls: Sequence[Call]) -> dict[str, list[Any]]:
    """Each distinct list of tools that calls were offered, by its id: what is kept once for all
    rollouts, where the names alone stand with each."""
    lists: list[list[Any]] = []
    for call in calls:
        if call.tools and list(call.tools) not in lists:
            lists.append(list(call.tools))
    return {tools_id(tools): tools for tools in lists}


def tools_id(tools: Sequence[Mapping[str, Any]]) -> str:
    """What a list of tools is called: 16 hexadecimal digits of a hash; empty without tools."""
    if not tools:
        return ""
    text = json.dumps(list(tools), sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def _longest(keys: list[str], known: list[list[str]]) -> tuple[int, int]:
    """The latest of the earlier calls with the longest common beginning, and its length."""
    best, longest = 0, 0
    for index in range(len(known) - 1, -1, -1):
        earlier = known[index]
        if longest >= len(earlier):
            continue
        common = next(
            (n for n, (a, b) in enumerate(zip(keys, earlier, strict=False)) if a != b),
            min(len(keys), len(earlier)),
        )
        if common > longest:
            best, longest = index, common
        if longest == len(keys):
            break
    return best, longest


def _key(message: Message) -> str:
    """What identifies a message; an answer is the same however it is sent back."""
    if message.get("role") != "assistant":
        return json.dumps(message, sort_keys=True, default=str)
    asked = [call.get("function") or call for call in message.get("tool_calls") or []]
    calls = [[one.get("name"), _read(one.get("arguments"))] for one in asked]
    answer = ["assistant", _text(message.get("content")), calls]
    return json.dumps(answer, sort_keys=True, default=str)


def _read(arguments: Any) -> str:
    """A call's arguments, spaces and the order of names left aside; as they stand where they are
    no JSON."""
    try:
        read = json.loads(arguments) if isinstance(arguments, str) else arguments
        return json.dumps(read, sort_keys=True, default=str)
    except (ValueError, RecursionError):
        return str(arguments)


def _text(content: Any) -> str:
    if isinstance(content, list):
        texts = [part.get("text", "") if isinstance(part, dict) else part for part in content]
        return "\n".join(str(text) for text in texts).strip()
    return str(content or "").strip()
