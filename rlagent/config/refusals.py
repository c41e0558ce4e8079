"""What Hydra and OmegaConf raise, as one line that names the key."""

import re
from collections.abc import Sequence

from rlagent.base.cause import text_of
from rlagent.base.errors import Problem


def key_and_text(argument: str) -> tuple[str, str | None]:
    """Return the two sides of an override; the second is None where there is no `=`."""
    key, sign, text = argument.partition("=")
    return key, text if sign else None


def from_hydra(
    error: Exception, arguments: Sequence[str], key: str = "", text: str | None = None
) -> Problem:
    """Return one line of what Hydra or OmegaConf said, cause included.

    Args:
        error: What was raised.
        arguments: The overrides that were composed, among which its key may be.
        key: What it is about, where the error itself names no key.
        text: What stands for that key.
    """
    full = str(getattr(error, "full_key", None) or "")
    if full:
        typed = dict(key_and_text(argument.lstrip("+")) for argument in arguments)
        key, text = full, typed.get(full)
    parts = [str(error).strip() or type(error).__name__]
    if isinstance(error, RecursionError):
        parts = ["is nested too deeply, or refers to itself"]
    if error.__cause__ is not None:
        parts.append(text_of(error.__cause__))
    lines = [
        line.strip().rstrip(".:")
        for part in parts
        for line in part.splitlines()
        if line.strip() and not line.strip().startswith(_NOT_FOR_PEOPLE)
    ]
    said = re.sub(
        r"\b\w+Error raised while resolving", "while resolving", "; ".join(dict.fromkeys(lines))
    )
    remedy = "a dollar sign is written \\$ where it is meant" if "${" in (text or "") else ""
    return Problem(key, text, f"cannot be composed: {said}", remedy)


_NOT_FOR_PEOPLE = ("full_key:", "reference_type=", "object_type=", "Error merging override")
"""What the messages hold beside the cause: the key is said anyway."""
