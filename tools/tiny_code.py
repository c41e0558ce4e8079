"""Rebuild what the code experiment ships: `python -m tools.tiny_code`.

Writes code_tiny (descriptions of one-line functions with tests) and tiny_code (a model that has
learnt from a teacher who errs half of the time) under rlagent/assets.
"""

import random
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlagent.workflows.code import prompt
from rlagent.workflows.teacher import Transcript
from tools.tiny_model import parts
from tools.tiny_model.data import write_rows

SEED = 7
TRAIN, TEST, LESSONS = 1200, 256, 4000
CALLS = 5
MISTAKEN = 0.5
VOCABULARY = 400
EPOCHS = (4, 2)
"""Passes of each course of training; the rate falls in each."""
SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
}

_PAIRS = {
    "the sum of {} and {}": "{} + {}",
    "the difference of {} and {}": "{} - {}",
    "the product of {} and {}": "{} * {}",
    "the larger of {} and {}": "max({}, {})",
    "the smaller of {} and {}": "min({}, {})",
    "whether {} is less than {}": "{} < {}",
    "whether {} equals {}": "{} == {}",
}
_ONES = {
    "twice {}": "2 * {}",
    "{} squared": "{} * {}",
    "the size of {}": "abs({})",
    "one more than {}": "{} + 1",
}
_LISTS = {
    "the sum of {}": "sum({})",
    "the length of {}": "len({})",
    "the largest in {}": "max({})",
    "the smallest in {}": "min({})",
    "{} sorted": "sorted({})",
    "{} reversed": "{}[::-1]",
    "the first of {}": "{}[0]",
    "the last of {}": "{}[-1]",
}
_NAMES, _MANY = "abcdmnxyz", ("items", "rows", "values", "words")


@dataclass(frozen=True)
class Function:
    """A function to write."""

    question: str
    head: str
    body: str
    # Bodies that a hasty reader could take for it.
    slips: tuple[str, ...]
    lists: bool

    @property
    def code(self) -> str:
        return f"{self.head}\n    return {self.body}"


def draw(rng: random.Random) -> Function:
    """One function, of two numbers or of a list."""
    if rng.random() < 0.35:
        name, (words, body) = rng.choice(_MANY), rng.choice([*_LISTS.items()])
        slips = [code.format(name) for code in _LISTS.values()]
        return _function([name], words.format(name), body.format(name), slips, lists=True)
    first, second = names = rng.sample(_NAMES, 2)
    words, body = rng.choice([*_PAIRS.items()])
    slips = [code.format(*pair) for code in _PAIRS.values() for pair in (names, names[::-1])]
    if rng.random() < 0.6:
        inner, code = rng.choice([*_ONES.items()])
        at = rng.randrange(2)
        said, written = [first, second], [first, second]
        said[at] = inner.format(names[at])
        written[at] = f"({code.replace('{}', names[at])})"
        slips += [body.format(*written[::-1])]
        slips += [other.format(*written) for other in _PAIRS.values()]
        return _function(names, words.format(*said), body.format(*written), slips)
    return _function(names, words.format(*names), body.format(*names), slips)


def _function(
    names: list[str], words: str, body: str, slips: list[str], lists: bool = False
) -> Function:
    head = f"f({', '.join(names)})"
    others = tuple(dict.fromkeys(slip for slip in slips if slip != body))
    return Function(f"{head}: {words}", f"def {head}:", body, others, lists)


def calls(function: Function, rng: random.Random) -> list[list[Any]]:
    """Calls with what they return, by the right body."""
    scope: dict[str, Any] = {}
    exec(function.code, scope)
    found = []
    for _ in range(CALLS):
        if function.lists:
            arguments: list[Any] = [[rng.randint(-20, 20) for _ in range(rng.randint(2, 6))]]
        else:
            arguments = [rng.randint(-12, 12) for _ in range(2)]
        found.append([arguments, scope["f"](*arguments)])
    return found


def rows(count: int, seed: int, exclude: Collection[str] = ()) -> list[dict[str, Any]]:
    """Tasks of which no question is in `exclude`; a question may come again with other tests."""
    rng = random.Random(seed)
    found: list[dict[str, Any]] = []
    while len(found) < count:
        function = draw(rng)
        if function.question not in exclude:
            found.append(
                {"question": function.question, "name": "f", "tests": calls(function, rng)}
            )
    return found


def _drawn() -> dict[str, dict[str, Any]]:
    rng = random.Random(SEED)
    seen: dict[str, dict[str, Any]] = {}
    while len(seen) < TEST:
        function = draw(rng)
        seen[function.question] = {
            "question": function.question,
            "name": "f",
            "tests": calls(function, rng),
        }
    return seen


def drawn_for_test() -> set[str]:
    """Questions that are neither trained on nor taught."""
    return set(_drawn())


def splits() -> dict[str, list[dict[str, Any]]]:
    """The training tasks, and the held-out ones, of other questions."""
    seen = _drawn()
    # Of lists there are so few questions that all of them are drawn, and none is left to train on.
    held_out = [row for row in seen.values() if not isinstance(row["tests"][0][0][0], list)]
    return {"train": rows(TRAIN, SEED + 1, seen), "test": held_out}


def lessons(exclude: Collection[str]) -> list[Transcript]:
    """Conversations with a teacher who errs in half of them."""
    rng = random.Random(SEED + 2)
    found: list[Transcript] = []
    while len(found) < LESSONS:
        function = draw(rng)
        if function.question in exclude:
            continue
        body = rng.choice(function.slips) if rng.random() < MISTAKEN else function.body
        reply = {"role": "assistant", "content": f"{function.head}\n    return {body}"}
        found.append(Transcript([*prompt(function.question), reply], []))
    return found


def build_model(folder: Path) -> None:
    """Make the tiny model from nothing: transcripts, tokenizer, training, export."""
    from tools.tiny_model import sft, tokenizer
    from tools.tiny_model.__main__ import export

    taught = lessons(drawn_for_test())
    words = tokenizer.train(taught, VOCABULARY)
    model = sft.new_model(words, SEED, **SHAPE)
    examples = sft.encode(words, taught)
    for course, epochs in enumerate(EPOCHS):
        sft.train(model, examples, sft.Schedule(epochs=epochs, batch=64), SEED + course)
    export(model, words, folder)


if __name__ == "__main__":
    parts.run(
        "tiny_code",
        __doc__,
        lambda assets: write_rows(assets / "code_tiny", splits()),
        lambda assets: build_model(assets / "tiny_code"),
    )
