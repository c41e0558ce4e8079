"""Which rollouts are asked for. Pure: of a batch, of a head, and of a whole row."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rlagent.records.rollouts.row import Batch, Head


@dataclass(frozen=True)
class Query:
    """What a rollout must be; None and "" ask for nothing.

    Args:
        phase: `train` or `eval`.
        steps: First and last step, both included; None leaves an end open.
        set: Name of the set of held-out tasks.
        group: The task among those of its step or set.
        run: The rollout among those of its task.
        reward: Least and greatest reward, both included; None leaves an end open. One without a
            reward is in no range.
        success: Whether it succeeded.
        failed: Whether it failed with an error.
        error: Part of that error, in whatever case.
        task: The task: its position in its split, or the beginning of its hash.
        text: Part of the task or of what was said, in whatever case.
        tool: Name of a tool that was called.
        longer_than: Tokens that the model answered with, all turns together.
        turns: Least number of the model's turns.
        lag: Least number of weight versions between sampling and training.
    """

    phase: str | None = None
    steps: tuple[int | None, int | None] = (None, None)
    set: str | None = None
    group: int | None = None
    run: int | None = None
    reward: tuple[float | None, float | None] = (None, None)
    success: bool | None = None
    failed: bool | None = None
    error: str = ""
    task: str = ""
    text: str = ""
    tool: str = ""
    longer_than: int | None = None
    turns: int | None = None
    lag: int | None = None

    def wants(self, batch: Batch) -> bool:
        """Whether a batch may hold what is asked for."""
        first, last = self.steps
        return (
            self.phase in (None, batch.phase)
            and (first is None or batch.step >= first)
            and (last is None or batch.step <= last)
        )

    def matches(self, head: Head) -> bool:
        """Whether a rollout is asked for as far as its head says; the text is left to `says`."""
        return (
            self.wants(Batch(head.step, head.phase))
            and self.set in (None, head.set)
            and self.group in (None, head.group)
            and self.run in (None, head.run)
            and self.success in (None, head.success)
            and self.failed in (None, head.error is not None)
            and (not self.error or self.error.casefold() in (head.error or "").casefold())
            and (not self.tool or self.tool in head.tools)
            and (self.longer_than is None or head.tokens > self.longer_than)
            and (self.turns is None or head.turns >= self.turns)
            and (self.lag is None or (head.lag is not None and head.lag >= self.lag))
            and (not self.task or is_task(self.task, head))
            and _is_within(head.reward, *self.reward)
        )

    def may_say(self, line: bytes) -> bool:
        """Whether a row may hold the text, as it is written in JSON; `says` knows."""
        # What the JSON of a row holds beside its texts makes it true too often only.
        return not self.text or _in_json(self.text) in line.decode("utf-8", "replace").casefold()

    def says(self, row: Mapping[str, Any]) -> bool:
        """Whether the text is in the task, in what was said, or in the error."""
        if not self.text:
            return True
        wanted = self.text.casefold()
        return any(wanted in text.casefold() for text in _texts(row))


def is_task(named: str, head: Head) -> bool:
    """Whether a person means this rollout's task by a position or the beginning of a hash.

    Digits alone are a position, unless they are as many as a hash has.
    """
    if re.fullmatch(r"\d{1,15}", named):
        return head.position == int(named)
    return bool(head.hash) and head.hash.startswith(named.lower())


def _is_within(reward: float | None, least: float | None, greatest: float | None) -> bool:
    if least is None and greatest is None:
        return True
    return (
        reward is not None
        and (least is None or reward >= least)
        and (greatest is None or reward <= greatest)
    )


def _in_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1].casefold()


def _texts(row: Mapping[str, Any]) -> Iterator[str]:
    """Every text of a row's task, messages, answers and error."""
    waiting: list[Any] = [row.get("task"), row.get("error"), row.get("messages")]
    calls = row.get("calls")
    for call in calls if isinstance(calls, list) else ():
        waiting += [call.get("messages"), call.get("response")]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
