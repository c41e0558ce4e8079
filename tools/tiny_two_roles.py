"""Rebuild what the experiment two_roles ships: `python -m tools.tiny_two_roles`.

Writes sums, of which a fifth is held out (two_roles), and a model that has learnt both roles from a
teacher who errs now and then (tiny_two_roles), under rlagent/assets.
"""

import asyncio
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rlagent.workflows.teacher import Transcript
from rlagent.workflows.two_roles import guess_and_choose
from tools.tiny_model import parts
from tools.tiny_model.data import write_rows

SEED = 3
LESSONS = 2600
WRONG_GUESS, WRONG_CHOICE = 0.35, 0.3
VOCABULARY = 300
SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 32,
}


def sums() -> dict[str, list[dict[str, str]]]:
    """All sums of two numbers from 1 to 9, as tasks by split."""
    tasks = [
        {"question": f"{a}+{b}", "answer": str(a + b)} for a in range(1, 10) for b in range(1, 10)
    ]
    random.Random(SEED).shuffle(tasks)
    held_out = len(tasks) // 5
    return {"test": tasks[:held_out], "train": tasks[held_out:]}


class Teacher:
    """Stands for the model: guesses and chooses from what it knows, and errs now and then.

    Args:
        answer: The right one.
        rng: Draws its errors.
    """

    def __init__(self, answer: str, rng: random.Random) -> None:
        self._answer = int(answer)
        self._rng = rng
        self.said: list[Transcript] = []

    def as_role(self, role: str) -> Any:
        """As the model that a workflow gets."""
        say = self._guess if role == "guesser" else self._choose

        async def asked(messages: list[dict[str, Any]]) -> Any:
            text = say(messages[-1]["content"])
            self.said.append(Transcript([*messages, {"role": "assistant", "content": text}], []))
            return SimpleNamespace(content=[{"type": "text", "text": text}])

        return asked

    def _guess(self, _: str) -> str:
        if self._rng.random() >= WRONG_GUESS:
            return str(self._answer)
        near = [self._answer + slip for slip in (-10, -2, -1, 1, 2, 10)]
        return str(self._rng.choice([number for number in near if number > 0]))

    def _choose(self, offered: str) -> str:
        _, _, first, _, second = offered.split(" ")
        right = "A" if int(first) == self._answer else "B"
        if str(self._answer) not in (first, second) or first == second:
            return self._rng.choice("AB")
        return right if self._rng.random() >= WRONG_CHOICE else "AB"[right == "A"]


async def _lessons() -> list[Transcript]:
    rng = random.Random(SEED + 1)
    tasks = [task for split in sums().values() for task in split]
    found = []
    for _ in range(LESSONS):
        task = rng.choice(tasks)
        teacher = Teacher(task["answer"], rng)
        await guess_and_choose(task, teacher)
        found += teacher.said[1:]
    return found


def build_model(folder: Path) -> None:
    """Make the tiny model from nothing: transcripts, tokenizer, training, export."""
    from tools.tiny_model import sft, tokenizer
    from tools.tiny_model.__main__ import export

    taught = asyncio.run(_lessons())
    words = tokenizer.train(taught, VOCABULARY)
    model = sft.new_model(words, SEED, **SHAPE)
    examples = sft.encode(words, taught)
    sft.train(model, examples, sft.Schedule(epochs=7, batch=64, lr=8e-3), SEED)
    export(model, words, folder)


if __name__ == "__main__":
    parts.run(
        "tiny_two_roles",
        __doc__,
        lambda assets: write_rows(assets / "two_roles", sums()),
        lambda assets: build_model(assets / "tiny_two_roles"),
    )
