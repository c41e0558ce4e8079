"""What becomes of a rollout that did not simply end with a reward: the one place that decides it.

docs/rollouts.md has the same as a table. Pure; the workflow adapter does what is decided.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CUT = ("train", "mask", "drop")
"""What may become of a rollout with a response that was cut (workflow.truncated)."""


class TruncatedError(RuntimeError):
    """A response was cut at its longest, and such rollouts are left out."""


@dataclass(frozen=True)
class Treatment:
    """What is done with a rollout.

    Args:
        reward: What it is trained on with; None: it is left out, and counts as failed.
        cause: Why it is left out; None: it is not.
        overlong: Whether the reward is that of a conversation that outgrew the model.
        masked: Whether responses that were cut are not trained on, though their rollout is.
    """

    reward: float | None
    cause: Exception | None = None
    overlong: bool = False
    masked: bool = False


def treatment(
    options: Mapping[str, Any],
    outcome: float | Exception,
    outgrown: bool,
    truncated: bool,
    evaluated: bool,
) -> Treatment:
    """Decide about a rollout.

    Args:
        options: `overlong_reward` and `truncated`, as in the configuration.
        outcome: Its reward, or what ended it without one.
        outgrown: Whether it ended since its conversation had outgrown model.max_model_len, after
            at least one answer.
        truncated: Whether a response of it was cut at model.max_response_tokens.
        evaluated: Whether it is for an evaluation, which trains on nothing.

    >>> treatment({"overlong_reward": 0.0}, ValueError("too long"), True, False, False)
    Treatment(reward=0.0, cause=None, overlong=True, masked=False)
    >>> treatment({"truncated": "mask"}, 1.0, False, True, False)
    Treatment(reward=1.0, cause=None, overlong=False, masked=True)
    """
    if isinstance(outcome, Exception):
        given = options.get("overlong_reward")
        if outgrown and given is not None:
            return Treatment(float(given), overlong=True)
        return Treatment(None, outcome)
    asked = options.get("truncated", "train")
    if not truncated or evaluated or asked == "train":
        return Treatment(outcome)
    if asked == "mask":
        return Treatment(outcome, masked=True)
    message = "a response was cut at model.max_response_tokens (workflow.truncated=drop)"
    return Treatment(None, TruncatedError(message))
