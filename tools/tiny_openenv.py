"""Rebuild the tiny model that openenv comes with: `python -m tools.tiny_openenv`.

Writes rlagent/assets/openenv: transcripts of the real workflow and the real server, led by a
teacher that halves what is left, and guesses blindly on purpose now and then.
"""

import asyncio
import random
from pathlib import Path

from rlagent.environments.guess import GUESSES, LARGEST, Guessing
from rlagent.environments.served import end_servers
from rlagent.workflows.openenv import act
from rlagent.workflows.teacher import Call, TeacherClient, Transcript, converse, teacher_model
from tools.tiny_frozen_lake import SHAPE
from tools.tiny_model import parts, sft, tokenizer
from tools.tiny_model.__main__ import export
from tools.tiny_model.data import write_rows

TRAIN_SIZE, TEST_SIZE = 1000, 256
SEED = 1
CONVERSATIONS = 1000
VOCABULARY = 340
MISTAKEN = 0.6
"""Share of the teacher's guesses that are drawn from all numbers."""

FRAME = [
    '\n{"name": "act", "arguments": {"number": ',
    "}}\n",
    "higher",
    "lower",
    "right",
    f"1 to {LARGEST}",
]


def number_of(seed: int) -> int:
    """The number that the server draws."""
    world = Guessing()
    world.reset(seed=seed)
    return world._number


def lesson(number: int, mistaken: float, rng: random.Random) -> list[Call]:
    """The guesses of one episode."""
    low, high, calls = 1, LARGEST, []
    while len(calls) < GUESSES:
        guess = rng.randint(1, LARGEST) if rng.random() < mistaken else (low + high) // 2
        calls.append(("act", {"number": guess}))
        if guess == number:
            break
        if low <= guess < number:
            low = guess + 1
        elif number < guess <= high:
            high = guess - 1
    return calls


async def collect(count: int, seed: int) -> list[Transcript]:
    """Conversations about numbers of their own, led by the teacher."""
    rng, model, found = random.Random(seed), teacher_model(), []
    for number in range(1_000_000, 1_000_000 + count):
        client = TeacherClient(lesson(number_of(number), MISTAKEN, rng))
        found.append(await converse(act, model, {"seed": number}, client))
    return found


def build_model(folder: Path, conversations: int = CONVERSATIONS) -> None:
    """Make the tiny model from nothing."""
    lessons = asyncio.run(collect(conversations, SEED))
    end_servers()
    words = tokenizer.train(lessons, VOCABULARY, FRAME)
    model = sft.new_model(words, SEED, **SHAPE)
    sft.train(model, sft.encode(words, lessons), sft.Schedule(epochs=4), SEED)
    export(model, words, folder)


def splits() -> dict[str, list[dict[str, int]]]:
    """The train and test sets: a seed each."""
    drawn = {"test": range(TEST_SIZE), "train": range(10_000, 10_000 + TRAIN_SIZE)}
    return {name: [{"seed": seed} for seed in seeds] for name, seeds in drawn.items()}


if __name__ == "__main__":
    parts.run(
        "tiny_openenv",
        __doc__,
        lambda assets: write_rows(assets / "openenv_seeds", splits()),
        lambda assets: build_model(assets / "openenv"),
    )
