"""Rebuild the tiny model of the experiment reasoning_gym: `python -m tools.tiny_reasoning_gym`.

Writes rlagent/assets/reasoning_gym from nothing: tasks of its own seed, a teacher that is often
wrong in plausible ways, a tokenizer that spells letter by letter, supervised training.
"""

import argparse
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from rlagent.base.paths import conf_dir
from rlagent.workflows.reasoning_gym import messages
from rlagent.workflows.reasoning_gym_tasks import tasks
from rlagent.workflows.teacher import Transcript
from tools.tiny_model import sft, tokenizer
from tools.tiny_model.__main__ import export
from tools.tiny_model.parts import ASSETS

SEED = 1
CONVERSATIONS = 3000
SHAPE = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3}
MISTAKEN = 0.4
"""Share of the teacher's answers that are wrong: the model is to know how such tasks are solved
without being sure of it."""

ALPHABET = 256


def asked() -> dict[str, Any]:
    """The tasks of the experiment, as its preset names them."""
    preset = (conf_dir() / "experiment" / "reasoning_gym.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(preset)["dataset"]["args"]["tasks"]


def lessons(seed: int = SEED, number: int = CONVERSATIONS) -> list[Transcript]:
    """Conversations about tasks that are not among the experiment's held-out ones."""
    rng = random.Random(seed)
    found = []
    # Of the training split, so that no held-out question is ever seen.
    for task in tasks("train", asked(), train=number, seed=SEED + 100):
        answer = task["answer"]
        if rng.random() < MISTAKEN:
            answer = MISTAKES[task["task"]](answer, rng)
        reply = {"role": "assistant", "content": f"<answer>{answer}</answer>"}
        found.append(Transcript([*messages(task), reply], []))
    return found


def phrases(transcripts: list[Transcript]) -> list[str]:
    """What the questions of a kind begin and end with alike, longest first."""
    kinds: dict[str, list[str]] = {}
    for transcript in transcripts:
        question = transcript.messages[1]["content"]
        kinds.setdefault(question[:20], []).append(question)
    found = {"<answer>", "</answer>"}
    for questions in kinds.values():
        found.add(_alike(questions))
        found.add(_alike([text[::-1] for text in questions])[::-1])
    return sorted(found - {""}, key=lambda text: (-len(text), text))


def _alike(texts: list[str]) -> str:
    """What all of them begin with."""
    first, last = min(texts), max(texts)
    ends = (place for place, sign in enumerate(first) if last[place : place + 1] != sign)
    return first[: next(ends, len(first))]


def _wrong_number(answer: str, rng: random.Random) -> str:
    near = int(answer) + rng.choice([-3, -2, -1, 1, 2, 3])
    return str(near)


def _wrong_divisor(answer: str, rng: random.Random) -> str:
    return str(rng.choice([number for number in range(1, 11) if number != int(answer)]))


def _wrong_order(answer: str, rng: random.Random) -> str:
    letters = list(answer)
    place = rng.randrange(len(letters) - 1)
    letters[place : place + 2] = reversed(letters[place : place + 2])
    # Equal neighbours: then a letter is forgotten.
    return "".join(letters) if "".join(letters) != answer else answer[:-1]


MISTAKES: dict[str, Callable[[str, random.Random], str]] = {
    "chain_sum": _wrong_number,
    "gcd": _wrong_divisor,
    "spell_backward": _wrong_order,
}
"""A plausible wrong answer of each task."""


def build(folder: Path, seed: int = SEED) -> None:
    """Make the model: conversations, tokenizer, training, export."""
    taught = lessons(seed)
    whole = phrases(taught)
    single = {*whole, *tokenizer.repeated_texts(taught)}
    # No merges: a word that is to be spelled backward must be read letter by letter.
    fixed = len(tokenizer.SPECIAL) + len(tokenizer.CALL_TAGS)
    words = tokenizer.train(taught, ALPHABET + fixed + len(single), whole)
    model = sft.new_model(words, seed, **SHAPE)
    sft.train(model, sft.encode(words, taught), sft.Schedule(epochs=5, lr=4e-3), seed)
    export(model, words, folder)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.tiny_reasoning_gym", description=__doc__)
    parser.add_argument("--assets", type=Path, default=ASSETS, help="where to write")
    build(parser.parse_args().assets / "reasoning_gym")


if __name__ == "__main__":
    main()
