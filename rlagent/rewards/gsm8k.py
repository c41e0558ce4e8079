"""Is an answer to a GSM8K task right? Text in, truth value out; what a right answer is worth is
the workflow's affair.
"""

import re
from decimal import Decimal

_MARK = "####"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)")


def truth(answer: str) -> str:
    """The final answer of a GSM8K row: what stands after the last `####`, thousands commas dropped.

    A row without the mark is its own final answer, so that plain question/answer files work too.
    """
    return _bare(answer.rpartition(_MARK)[2])


def is_correct(result: str | None, answer: str) -> bool:
    """Whether `result` names the same number as the row's `answer`.

    "8", "8.0", "8.", " 8 ", "$8" and "+8" are equal, and so are "1,000" and "1000". Where either
    side is not a number, the texts are compared without regard to case. None is never right.
    """
    if result is None:
        return False
    given, wanted = _bare(result), truth(answer)
    if _NUMBER.fullmatch(given) and _NUMBER.fullmatch(wanted):
        return Decimal(given) == Decimal(wanted)
    return bool(given) and given.casefold() == wanted.casefold()


def _bare(text: str) -> str:
    return text.strip().replace("$", "").replace(",", "").strip()
