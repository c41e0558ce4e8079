"""Conversations to learn from, of what a run's rollouts said: which are taken, and in what form.

A row is `messages` and `tools`, as `algorithm=sft`, Trinity and TRL take them.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rlagent.records.calls import conversations
from rlagent.records.rollouts import Rollout, RolloutStore, head_of

NO_TOOLS = "their tools' schemas were not recorded (by an earlier version of rlagent)"
NO_JSON = "a call's arguments are no JSON object"
SAME = "the same conversation was there already"
FAILED = "they failed with an error"
SILENT = "the model said nothing in them"
WORSE = "of their task better ones were kept"


@dataclass
class Taught:
    """Conversations as rows, in the order of their rollouts.

    Args:
        rows: Each `messages` and `tools`.
        rollouts: How many they come from.
        left_out: How many rollouts or conversations were not taken, by the reason.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    rollouts: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def taught_by(store: RolloutStore, found: Iterable[Rollout], best: int | None = None) -> Taught:
    """The conversations of rollouts, each once.

    Args:
        store: Where they are kept, with the tools that they were offered.
        found: Those that are asked for.
        best: Rollouts that are kept of each task: those with most reward, of equals the shorter,
            then the earlier; None: all.
    """
    taught, seen = Taught(), set[str]()
    of_task: dict[Any, list[tuple[tuple[float, int, int], list[dict[str, Any]]]]] = {}
    for number, rollout in enumerate(found):
        if rollout.get("error") is not None:
            taught.left_out[FAILED] += 1
            continue
        rows = _rows_of(store, rollout, seen, taught.left_out)
        if rows:
            head = head_of(rollout)
            rank = (-(head.reward or 0.0), head.tokens, number)
            task = (head.set, head.hash or head.group)
            of_task.setdefault(task if best else number, []).append((rank, rows))
    kept = []
    for candidates in of_task.values():
        ranked = sorted(candidates, key=lambda one: one[0])
        kept += ranked[:best]
        taught.left_out[WORSE] += len(ranked[best:]) if best else 0
    for _, rows in sorted(kept, key=lambda one: one[0][-1]):
        taught.rows += rows
        taught.rollouts += 1
    return taught


def _rows_of(
    store: RolloutStore, rollout: Rollout, seen: set[str], left_out: Counter[str]
) -> list[dict[str, Any]]:
    """The conversations of a rollout that are not `seen` yet, to which they are added."""
    rows = []
    for one in conversations(rollout):
        tools = store.tools(one.offered) if one.offered else _without_tools(rollout)
        if tools is None:
            left_out[NO_TOOLS] += 1
            continue
        try:
            row = conversation_row(one.messages, tools)
        except ValueError:
            left_out[NO_JSON] += 1
            continue
        if not any(message["role"] == "assistant" for message in row["messages"]):
            left_out[SILENT] += 1
            continue
        text = json.dumps(row, sort_keys=True, default=str)
        digest = hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
        if digest in seen:
            left_out[SAME] += 1
            continue
        seen.add(digest)
        rows.append(row)
    return rows


def _without_tools(rollout: Rollout) -> list[Any] | None:
    """No tools, unless the record has names of some alone."""
    calls = rollout.get("calls")
    listed = calls if isinstance(calls, list) else []
    return None if any(call.get("tools") and "offered" not in call for call in listed) else []


def conversation_row(messages: Sequence[Mapping[str, Any]], tools: Sequence[Any]) -> dict[str, Any]:
    """A conversation as a row: texts as strings, arguments of calls as objects.

    Chat templates render both so; parts of a text and JSON in JSON many of them do not.

    Raises:
        ValueError: The arguments of a call are no JSON object.
    """
    rows = []
    for message in messages:
        row = {"role": message["role"], "content": _text(message.get("content"))}
        if thought := message.get("reasoning_content") or message.get("reasoning"):
            row["reasoning_content"] = thought
        if calls := message.get("tool_calls"):
            row["tool_calls"] = [_call(call) for call in calls]
        if message["role"] == "tool":
            row["name"] = message.get("name")
        rows.append(row)
    return {"messages": rows, "tools": list(tools)}


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    arguments = function["arguments"]
    if isinstance(arguments, str):
        arguments = json.loads(arguments)
    if not isinstance(arguments, Mapping):
        raise ValueError(NO_JSON)
    return {"type": "function", "function": {"name": function["name"], "arguments": arguments}}


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content if isinstance(part, Mapping))
    return str(content or "")
