"""The tokens that the model sampled, each with a colour for its probability. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LEVELS = 8
"""Colours, from a sure token (0) to one of at most 1 in 128 (7): a level per halving."""


@dataclass(frozen=True)
class Token:
    """One token: its text, level of colour, and what pointing at it says."""

    text: str
    level: int
    says: str


@dataclass(frozen=True)
class Sampled:
    """What one call of the model sampled."""

    title: str
    tokens: Sequence[Token]
    # Class of the colour of all of it, by its advantage: `above`, `below`, or ''.
    side: str


def sampled(row: Mapping[str, Any], advantage: float | None) -> list[Sampled]:
    """The sampled tokens of each call that has them recorded.

    Args:
        row: A recorded rollout; of its calls, `tokens` are texts and `logprobs` as many numbers.
        advantage: Of the rollout; None where it is not known.
    """
    calls = row.get("calls")
    found = []
    for place, call in enumerate(calls if isinstance(calls, list) else (), start=1):
        texts, logprobs = call.get("tokens"), call.get("logprobs")
        if not isinstance(texts, list) or not isinstance(logprobs, list) or not texts:
            continue
        tokens = [
            Token(str(text), level(float(logprob)), _says(float(logprob)))
            for text, logprob in zip(texts, logprobs, strict=False)
        ]
        side = "" if not advantage else "above" if advantage > 0 else "below"
        found.append(Sampled(f"Call {place}, {len(tokens)} tokens", tokens, side))
    return found


def level(logprob: float) -> int:
    """The level of a token's colour.

    >>> level(0.0), level(math.log(0.5)), level(math.log(0.01)), level(-99.0)
    (0, 1, 6, 7)
    """
    if math.isnan(logprob):
        return LEVELS - 1
    return max(0, min(LEVELS - 1, int(-logprob / math.log(2) + 1e-9)))


def _says(logprob: float) -> str:
    return f"probability {math.exp(min(0.0, logprob)):.3g}, log {logprob:.3f}"
