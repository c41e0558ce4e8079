"""Conversations to learn from, of GSM8K's own answers: each annotated calculation is a call.

`Natalia sold 48/2 = <<48/2=24>>24 clips in May.` becomes the words before the calculation, a call
of the calculator, and the words behind it. The shipped workflow's agent leads them, with its own
prompt and tools (gsm8k_react.py).
"""

import re
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rlagent.rewards.gsm8k import is_correct, truth
from rlagent.tools.calculator import evaluate
from rlagent.workflows.gsm8k_react import react_agent
from rlagent.workflows.teacher import Call, TeacherClient, Transcript, converse, teacher_model

_ANNOTATED = re.compile(r"<<([^<>=]*)=([^<>]*)>>")
_FINAL = re.compile(r"\n*####.*\Z", re.DOTALL)


class NoLessonError(ValueError):
    """An answer cannot be taught from; the message says why, `kind` without the numbers of it."""

    def __init__(self, kind: str, where: str = "") -> None:
        super().__init__(f"{where}: {kind}" if where else kind)
        self.kind = kind


@dataclass(frozen=True)
class Lesson:
    """What the teacher says and calls, in turn; the last call hands in the answer."""

    calls: list[Call]
    texts: list[str]


def lesson(answer: str) -> Lesson:
    """The lesson of an annotated answer.

    Raises:
        NoLessonError: It has no annotation, or one that the calculator computes otherwise.

    >>> lesson("He has 2*3 = <<2*3=6>>6 eggs.\\n#### 6").texts
    ['He has 2*3 =', '6 eggs.']
    """
    calls: list[Call] = []
    texts: list[str] = []
    reasoning, at = _FINAL.sub("", answer), 0
    for found in _ANNOTATED.finditer(reasoning):
        expression, stated = found.groups()
        try:
            value = evaluate(expression)
        except ValueError as error:
            raise NoLessonError("the calculator does not take it", f"{found[0]}: {error}") from None
        # Stated values are rounded now and then; the lesson would contradict its tool.
        if not is_correct(value, stated):
            raise NoLessonError("the calculator finds another value", f"{found[0]}, {value}")
        texts.append(reasoning[at : found.start()].strip())
        calls.append(("calculator", {"expression": expression}))
        at = found.end()
    if not calls:
        raise NoLessonError("it has no annotated calculation")
    texts.append(reasoning[at:].strip())
    calls.append(("generate_response", {"result": truth(answer)}))
    return Lesson(calls, texts)


async def conversations(
    rows: Iterable[Mapping[str, Any]],
) -> AsyncIterator[tuple[int, Transcript | NoLessonError]]:
    """A conversation of each row, or why there is none, with the row's position.

    Args:
        rows: With `question` and `answer`, as GSM8K has them.
    """
    model = teacher_model()
    for position, row in enumerate(rows):
        try:
            taught = lesson(row["answer"])
        except NoLessonError as error:
            yield position, error
            continue
        turns = len(taught.calls) + 1

        async def agent(task: dict[str, Any], model: Any, turns: int = turns) -> Any:
            return await react_agent(task, model, max_iters=turns)

        client = TeacherClient(taught.calls, taught.texts)
        yield position, await converse(agent, model, dict(row), client)
