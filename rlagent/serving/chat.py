"""A conversation with a served checkpoint: what is said, how it is sampled, which tools run.

Reading from and printing to the terminal are passed in; `rlagent.chat` has the command.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import openai
from rich.console import Console

from rlagent.base.errors import ConfigError, Problem
from rlagent.records.files import write_atomically
from rlagent.serving.screen import STYLES, call_text, plain
from rlagent.serving.tools import ToolBox

MOST_ROUNDS = 16
"""Answers with tool calls that follow each other without a word of the person's."""

REFUSED = "The user did not allow this call."

HELP = """\
/reset            forget the conversation
/system [TEXT]    show the system prompt, or set it and forget the conversation
/set [NAME VALUE] show how answers are sampled, or change it: temperature, top_p, top_k, max_tokens
/save [FILE]      write the conversation as JSON (chat.json)
/help, /quit      also Ctrl+D; Ctrl+C ends an answer"""


@dataclass
class Sampling:
    """How answers are drawn; None: as the run sampled."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int | None = None
    seed: int | None = None

    def change(self, name: str, text: str) -> None:
        """Set a value as typed.

        Raises:
            ConfigError: There is no such value, or it is out of range.
        """
        known = {each.name: each.type for each in fields(self)}
        if name not in known:
            raise ConfigError([Problem(name, None, f"known are {', '.join(known)}")])
        whole = "int" in str(known[name])
        lowest, highest = _RANGES[name]
        try:
            value = int(text) if whole else float(text)
        except ValueError:
            value = highest + 1
        if not lowest <= value <= highest:
            kind = "a whole number" if whole else "a number"
            raise ConfigError([Problem(name, text, f"{kind} from {lowest} to {highest}")])
        setattr(self, name, value)

    def request(self) -> dict[str, Any]:
        """As fields of a request."""
        chosen = {name: value for name, value in asdict(self).items() if value is not None}
        # OpenAI's own interface has none.
        own = {"top_k": chosen.pop("top_k")} if "top_k" in chosen else {}
        return {**chosen, **({"extra_body": own} if own else {})}


_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 100),
    "top_p": (1e-6, 1),
    "top_k": (-1, 10_000_000),
    "max_tokens": (1, 10_000_000),
    "seed": (0, 2**63 - 1),
}


@dataclass
class Chat:
    """A chat with one model.

    Args:
        client: Of the endpoint.
        model: Its name there.
        console: Where answers are shown.
        tools: What the model may call.
        allow: Asked before a call runs, with the call in words.
        system: The system prompt; empty: none.
        sampling: How answers are drawn.
    """

    client: openai.OpenAI
    model: str
    console: Console
    tools: ToolBox
    allow: Callable[[str], bool]
    system: str = ""
    sampling: Sampling = field(default_factory=Sampling)
    messages: list[dict[str, Any]] = field(default_factory=list)

    def take(self, line: str) -> bool:
        """Answer a line, or do what a command says; returns whether the chat goes on."""
        text = line.strip()
        if not text:
            return True
        if not text.startswith("/"):
            self.say(text)
            return True
        name, _, rest = text.partition(" ")
        if name in ("/quit", "/exit"):
            return False
        try:
            self._command(name, rest.strip())
        except ConfigError as error:
            self._note(str(error))
        except OSError as error:
            self._note(f"it could not be written: {error}")
        return True

    def say(self, text: str) -> None:
        """Say something and show the answer, with the calls of tools in between."""
        before = len(self.messages)
        self.messages.append({"role": "user", "content": text})
        try:
            for _ in range(MOST_ROUNDS):
                message = self._answer()
                self.messages.append(message)
                calls = message.get("tool_calls")
                if not calls:
                    return
                self.messages += [self._run(call) for call in calls]
            self._note(f"it called tools {MOST_ROUNDS} times in a row; say something to go on")
        except openai.APIStatusError as error:
            del self.messages[before:]
            self._note(f"{_reason(error)}; nothing of this is kept (/reset begins again)")
        except openai.APIConnectionError as error:
            del self.messages[before:]
            self._note(f"the model does not answer any more: {error}")
        except KeyboardInterrupt:
            del self.messages[before:]
            self._note("interrupted; nothing of this is kept")

    def _command(self, name: str, rest: str) -> None:
        if name == "/reset":
            self.messages.clear()
            self._note("forgotten")
        elif name == "/system":
            if rest:
                self.system = rest
                self.messages.clear()
            self._note(self.system or "there is no system prompt")
        elif name == "/set":
            if rest:
                key, _, value = rest.replace("=", " ", 1).partition(" ")
                self.sampling.change(key, value.strip())
            said = (
                f"{k}={'as the run' if v is None else v}" for k, v in vars(self.sampling).items()
            )
            self._note(", ".join(said))
        elif name == "/save":
            path = Path(rest or "chat.json").expanduser()
            write_atomically(path, json.dumps(self.record(), indent=2, ensure_ascii=False) + "\n")
            self._note(f"saved in {path}")
        elif name == "/help":
            self._note(HELP)
        else:
            self._note(f"there is no {name}; there are:\n{HELP}")

    def record(self) -> dict[str, Any]:
        """The conversation as a request of OpenAI's interface."""
        chosen = {key: value for key, value in asdict(self.sampling).items() if value is not None}
        return {"model": self.model, "messages": self._all_messages(), **chosen}

    def _all_messages(self) -> list[dict[str, Any]]:
        first = [{"role": "system", "content": self.system}] if self.system else []
        return [*first, *self.messages]

    def _answer(self) -> dict[str, Any]:
        """One answer of the model, shown while it comes; what there is of it when interrupted."""
        request: dict[str, Any] = self.sampling.request()
        if self.tools.schemas:
            request["tools"] = self.tools.schemas
        stream = self.client.chat.completions.create(
            model=self.model, messages=self._all_messages(), stream=True, **request
        )
        calls: dict[int, dict[str, Any]] = {}
        content, thinking = "", False
        with stream:
            for chunk in stream:
                for choice in chunk.choices[:1]:
                    # The embedded engine's name of it, and vLLM's.
                    names = ("reasoning_content", "reasoning")
                    thought = next(
                        filter(None, (getattr(choice.delta, n, None) for n in names)), ""
                    )
                    if thought:
                        thinking = True
                        self._show(thought, "dim italic")
                    if choice.delta.content:
                        if thinking:
                            self.console.print()
                            thinking = False
                        content += choice.delta.content
                        self._show(choice.delta.content, STYLES["assistant"])
                    for part in choice.delta.tool_calls or []:
                        _add(calls, part)
        if content or thinking:
            self.console.print()
        message: dict[str, Any] = {"role": "assistant", "content": content}
        if calls:
            message["tool_calls"] = [calls[index] for index in sorted(calls)]
        return message

    def _run(self, call: dict[str, Any]) -> dict[str, Any]:
        """Run a call, if that is allowed; returns the message with its result."""
        said = call_text(call)
        if self.allow(said):
            function = call["function"]
            result = self.tools.call(function["name"], function["arguments"])
        else:
            result = REFUSED
        self.console.print(plain(f"{said} -> {result}", STYLES["tool"]))
        return {"role": "tool", "tool_call_id": call["id"], "content": result}

    def _show(self, text: str, style: str) -> None:
        self.console.print(plain(text, style), end="")

    def _note(self, text: str) -> None:
        self.console.print(plain(text, "dim"))


def _add(calls: dict[int, dict[str, Any]], part: Any) -> None:
    """Add a piece of a streamed tool call to what there is of it."""
    empty = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
    call = calls.setdefault(part.index, empty)
    call["id"] += part.id or ""
    call["function"]["name"] += (part.function and part.function.name) or ""
    call["function"]["arguments"] += (part.function and part.function.arguments) or ""


def _reason(error: openai.APIStatusError) -> str:
    body = error.body if isinstance(error.body, dict) else {}
    return str(body.get("message") or error)
