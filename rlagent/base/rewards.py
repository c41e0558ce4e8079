"""What a workflow returns as its reward: one number, a number by agent, or one by call.

Here it is checked against the calls that the rollout made, and becomes the return of each call:
what its agent earns from that call on, discounted per further call of that agent. Pure functions.
docs/rewards-and-judges.md has the same with an example worked by hand.
"""

import difflib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rlagent.base.texts import encodable, shown

NUMBER, BY_AGENT, BY_CALL = SHAPES = "number", "agent", "call"
"""What a reward may be: one number, a dict by agent, or a list by call."""

NAMED = {NUMBER: "one number", BY_AGENT: "rewards by agent", BY_CALL: "rewards by call"}

REWARD = "the reward"
EXPECTED = (
    "a number, a dict of numbers by agent, a list of numbers by call, a tuple of one of these and "
    "metrics, or a WorkflowOutput"
)

Agents = Sequence[str | None]
"""The agent of each call of the model, in the order of the answers; None: it has no name."""


class WorkflowResultError(ValueError):
    """The workflow or judge returned no reward; the message says what to do."""


@dataclass(frozen=True)
class Rewards:
    """The reward of a rollout, checked.

    Args:
        shape: One of `SHAPES`.
        total: Of the rollout: the number, the mean over the agents, or the sum over the calls.
        fell: By call, what it earned then; None where nothing fell.
        agents: By call, whose it is; "" where the rollout counts as one agent's.
        by_agent: What each agent earned in all; empty of one number.
    """

    shape: str
    total: float
    fell: list[float | None]
    agents: list[str]
    by_agent: dict[str, float] = field(default_factory=dict)

    def returns(self, discount: float) -> list[float]:
        """By call: what its agent earns from it on, each further call of that agent discounted.

        >>> Rewards(BY_CALL, 2.0, [1.0, 0.0, 1.0], ["", "", ""]).returns(0.5)
        [1.25, 0.5, 1.0]
        """
        found = [0.0] * len(self.fell)
        ahead: dict[str, float] = {}
        for number in range(len(self.fell) - 1, -1, -1):
            agent = self.agents[number]
            now = self.fell[number] or 0.0
            ahead[agent] = found[number] = now + discount * ahead.get(agent, 0.0)
        return found


def rewards_of_calls(given: Any, agents: Agents, source: str) -> Rewards:
    """Check what a workflow or judge returned as its reward.

    Args:
        given: A number; a dict of numbers by agent; or a list of one number per call.
        agents: Of the calls that the rollout made.
        source: Who returned it, for messages.

    Raises:
        WorkflowResultError: It is none of these, not finite, or does not fit the calls.
    """
    agents = [None if name is None else encodable(name) for name in agents]
    if isinstance(given, Mapping):
        return _by_agent(given, agents, source)
    if isinstance(given, list):
        return _by_call(given, agents, source)
    number = _number(given, source, REWARD)
    return Rewards(NUMBER, number, _at_the_end(number, len(agents)), [""] * len(agents))


def _by_agent(given: Mapping[Any, Any], agents: Agents, source: str) -> Rewards:
    by_agent: dict[str, float] = {}
    for key, value in given.items():
        name = encodable(str(key))
        by_agent[name] = _number(value, source, f"as the reward of {_quoted(name)}")
    acted = Counter(agents)
    known = [name for name in acted if name is not None]
    if not by_agent:
        raise WorkflowResultError(
            f"{source} returned no reward: an empty dict; agents that made calls: {_listed(known)}"
        )
    for name in by_agent:
        if name not in acted:
            near = difflib.get_close_matches(name, known, n=1)
            remedy = f"did you mean {_quoted(near[0])}? " if near else ""
            raise WorkflowResultError(
                f"{source} rewards {_quoted(name)}, which made no call of the model; {remedy}"
                f"agents that made calls: {_listed(known)}"
            )
    if acted[None]:
        raise WorkflowResultError(
            f"{source} returned rewards by agent, and {acted[None]} of {len(agents)} calls have "
            "none: call the model through an agent with a name, or through model.as_role(NAME)"
        )
    if silent := [name for name in known if name not in by_agent]:
        raise WorkflowResultError(
            f"{source} returned no reward of {_listed(silent)}, which made {acted[silent[0]]} "
            "calls: name every agent that called the model, 0 where it earned nothing"
        )
    owners = [name or "" for name in agents]
    fell: list[float | None] = [None] * len(owners)
    for name, reward in by_agent.items():
        fell[len(owners) - 1 - owners[::-1].index(name)] = reward
    mean = math.fsum(by_agent.values()) / len(by_agent)
    return Rewards(BY_AGENT, mean, fell, owners, by_agent)


def _by_call(given: list[Any], agents: Agents, source: str) -> Rewards:
    if len(given) != len(agents):
        raise WorkflowResultError(
            f"{source} returned {len(given)} rewards for {len(agents)} calls of the model; a list "
            "holds one per recorded call, in the order of the answers"
        )
    fell = [
        _number(value, source, f"as the reward of call {number}")
        for number, value in enumerate(given, 1)
    ]
    owners = [name or "" for name in agents]
    by_agent: dict[str, float] = {}
    for name in dict.fromkeys(owners):
        # A lone nameless agent is the rollout itself.
        if name:
            own = [each for each, owner in zip(fell, owners, strict=True) if owner == name]
            by_agent[name] = math.fsum(own)
    return Rewards(BY_CALL, math.fsum(fell), list(fell), owners, by_agent)


def _at_the_end(number: float, calls: int) -> list[float | None]:
    return [*[None] * (calls - 1), number] if calls else []


def _number(value: Any, source: str, what: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        expected = EXPECTED if what == REWARD else f"a number {what}"
        raise WorkflowResultError(
            f"{source} returned {type(value).__name__}, expected {expected}"
        ) from None
    if not math.isfinite(number):
        raise WorkflowResultError(f"{source} returned {what} {number}; it must be finite")
    return number


def _quoted(name: str) -> str:
    return shown(repr(name), 80)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(_quoted(name) for name in names[:8]) or "none with a name"
