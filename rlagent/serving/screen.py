"""Conversations and samples as lines of a terminal."""

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rlagent.base.texts import visible
from rlagent.base.words import number
from rlagent.serving.tried import Sample

STYLES = {
    "system": "dim",
    "user": "bold cyan",
    "assistant": "green",
    "tool": "yellow",
    "environment": "blue",
}


def call_text(call: dict[str, Any]) -> str:
    """A tool call as a call in Python.

    >>> call_text({"function": {"name": "add", "arguments": '{"a": 1, "b": "x"}'}})
    "add(a=1, b='x')"
    """
    # Written by the model: nothing of it may act on the terminal, or stand for another call.
    function = call.get("function") or call
    arguments = function.get("arguments") or "{}"
    try:
        read = json.loads(arguments) if isinstance(arguments, str) else arguments
        said = ", ".join(f"{_name(name)}={value!r}" for name, value in read.items())
    except (ValueError, AttributeError, RecursionError):
        said = repr(arguments)
    return f"{_name(str(function.get('name')))}({said})"


def _name(text: str) -> str:
    # As tools are called that are not Python's, too: get-time.
    return text if text.replace("-", "_").isidentifier() else repr(text)


def plain(text: str, style: str = "") -> Text:
    """A foreign text for the console, in which nothing is markup or acts on the terminal."""
    return Text(visible(text), style)


def content_text(content: Any) -> str:
    """A message's content: a text, or the texts of its parts."""
    if isinstance(content, list):
        return "\n".join(str(part.get("text", part)) if isinstance(part, dict) else str(part)
                         for part in content)  # fmt: skip
    return str(content or "")


def show_message(console: Console, message: dict[str, Any]) -> None:
    """Print a message under its role; what it holds is text, not markup."""
    role = str(message.get("role"))
    style = STYLES.get(role, "")
    parts = [message.get("reasoning_content"), content_text(message.get("content"))]
    lines = [str(part).strip() for part in parts if part and str(part).strip()]
    lines += [call_text(call) for call in message.get("tool_calls") or []]
    console.print(plain(f"{role:<12}", style), plain("\n".join(lines) or "(nothing)"), sep="")


def show_sample(console: Console, sample: Sample, title: str) -> None:
    """Print a rollout's conversations, its reward and metrics."""
    console.rule(Text(title), align="left")
    for conversation in sample.conversations:
        if conversation.agent and len(sample.conversations) > 1:
            console.print(plain(f"[{conversation.agent}]", "bold"))
        for message in conversation.messages:
            show_message(console, message)
    console.print(plain(outcome(sample), "bold" if sample.success else "bold red"))
    if sample.metrics:
        said = (f"{name} {number(value)}" for name, value in sample.metrics.items())
        console.print(plain("  ".join(said), "dim"))


def outcome(sample: Sample) -> str:
    """Reward and success in words, or why there is none."""
    if sample.error is not None:
        return f"failed: {sample.error}"
    return f"reward {number(sample.reward)}, {'success' if sample.success else 'no success'}"


def show_differences(console: Console, samples: Sequence[Sample]) -> None:
    """Print what differs between samples: a row each, and how many succeeded."""
    names = list(dict.fromkeys(name for one in samples for name in one.metrics))
    varying = [n for n in names if len({one.metrics.get(n) for one in samples}) > 1]
    table = Table(box=None, padding=(0, 2, 0, 0))
    for head in ("sample", "outcome", *varying, "last said"):
        table.add_column(head, overflow="ellipsis", no_wrap=True)
    for index, one in enumerate(samples, 1):
        said = [m for c in one.conversations for m in c.messages if m.get("role") == "assistant"]
        last = content_text(said[-1].get("content")) if said else ""
        calls = " ".join(map(call_text, (said[-1].get("tool_calls") or []) if said else []))
        cells = [str(index), outcome(one), *(number(one.metrics.get(n)) for n in varying)]
        table.add_row(*map(plain, [*cells, " ".join(f"{last} {calls}".split())[:60]]))
    console.print(table)
    solved = sum(one.success for one in samples)
    console.print(f"{solved} of {len(samples)} succeeded")
