"""The tokens that the model sampled, with colours for probability and advantage. Pure."""

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
    # Class of its own advantage, where tokens of one answer differ: `above`, `below` or ''.
    side: str
    says: str


@dataclass(frozen=True)
class Sampled:
    """What one call of the model sampled."""

    title: str
    tokens: Sequence[Token]
    # Class of the advantage of all of it: `above`, `below` or ''.
    side: str


def sampled(row: Mapping[str, Any], estimate: float | None) -> list[Sampled]:
    """The sampled tokens of each call that has them recorded.

    Args:
        row: A recorded rollout, see records/rollouts/row.py.
        estimate: Of its advantage, for a rollout without what was trained on; None: unknown.
    """
    calls, advantages = row.get("calls"), row.get("advantages")
    found = []
    for index, call in enumerate(calls if isinstance(calls, list) else ()):
        texts, logprobs = call.get("tokens"), call.get("logprobs")
        if not isinstance(texts, list) or not isinstance(logprobs, list) or not texts:
            continue
        given, words = estimate, "" if estimate is None else f"about {estimate:+.2f}"
        of_tokens: Sequence[Any] = ()
        if isinstance(advantages, list):
            trained = advantages[index] if index < len(advantages) else None
            if isinstance(trained, list):
                given, of_tokens, words = None, trained, "one for each token"
            else:
                given = trained
                words = "none, not trained on" if given is None else f"{given:+.4g}"
        known = [*of_tokens, *[None] * (len(texts) - len(of_tokens))]
        tokens = [
            Token(str(text), level(float(logprob)), _side(own), _says(float(logprob), own))
            for text, logprob, own in zip(texts, logprobs, known, strict=False)
        ]
        title = f"Call {index + 1}, {len(tokens)} tokens" + (
            f", advantage {words}" if words else ""
        )
        found.append(Sampled(title, tokens, _side(given)))
    return found


def _side(advantage: float | None) -> str:
    return "" if not advantage else "above" if advantage > 0 else "below"


def level(logprob: float) -> int:
    """The level of a token's colour.

    >>> level(0.0), level(math.log(0.5)), level(math.log(0.01)), level(-99.0)
    (0, 1, 6, 7)
    """
    if math.isnan(logprob):
        return LEVELS - 1
    return max(0, min(LEVELS - 1, int(-logprob / math.log(2) + 1e-9)))


def _says(logprob: float, advantage: float | None) -> str:
    own = "" if advantage is None else f", advantage {advantage:+.4g}"
    return f"probability {math.exp(min(0.0, logprob)):.3g}, log {logprob:.3f}{own}"
