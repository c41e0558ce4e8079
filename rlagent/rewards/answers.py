"""Is a short answer right? By rule, or by a model that judges.

What a right answer is worth is the workflow's affair.
"""

import re
import unicodedata
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_WORD = re.compile(r"[^\w\s]")
_VERDICT = re.compile(r"\W*(yes|no)\b", re.IGNORECASE)

JUDGE_PROMPT = (
    "Question: {question}\nReference answer: {wanted}\nGiven answer: {given}\n"
    "Does the given answer say the same as the reference answer? Reply with yes or no."
)


class JudgeError(RuntimeError):
    """The judge gave no verdict; the message says what it said instead."""


def plain(text: str) -> str:
    """A text as answers are compared: lower case, no articles, accents or punctuation.

    >>> plain("The  Café, Sorn!")
    'cafe sorn'
    """
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(sign for sign in decomposed if not unicodedata.combining(sign))
    return " ".join(_ARTICLES.sub(" ", _NO_WORD.sub(" ", bare)).split())


def is_right(given: str | None, wanted: str | Sequence[str]) -> bool:
    """Whether an answer is one of those that are right, as `plain` compares them."""
    answers = [wanted] if isinstance(wanted, str) else wanted
    found = plain(given or "")
    return bool(found) and found in map(plain, answers)


async def judged(
    judge: Callable[[list[dict[str, str]]], Awaitable[Any]],
    question: str,
    given: str | None,
    wanted: str | Sequence[str],
) -> bool:
    """Whether a model says that an answer is right; without an answer it is not asked.

    Args:
        judge: A chat model.
        question: What was asked.
        given: The answer; None: there is none.
        wanted: The right answer, or several.

    Raises:
        JudgeError: It said neither yes nor no.
    """
    if not given:
        return False
    answers = wanted if isinstance(wanted, str) else " or ".join(wanted)
    asked = JUDGE_PROMPT.format(question=question, wanted=answers, given=given[:1000])
    response = await judge([{"role": "user", "content": asked}])
    said = "".join(block["text"] for block in response.content if block["type"] == "text")
    found = _VERDICT.match(said.rpartition("</think>")[2])
    if found is None:
        raise JudgeError(f"the judge said neither yes nor no: {said[:100]!r}")
    return found[1].casefold() == "yes"
