"""Draws the word problems of gsm8k_tiny, seeded, and writes them in GSM8K's own format.

What the problems are stands in kinds.py; who solves them is no concern of this module.
"""

import json
import random
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from tools.tiny_model.kinds import KINDS, make
from tools.tiny_model.problems import Problem

TRAIN_SIZE = 4000
TEST_SIZE = 512
SEED = 20


def draw(count: int, seed: int, exclude: Collection[str] = ()) -> list[Problem]:
    """`count` problems of different texts, none in `exclude`, every kind equally often."""
    rng = random.Random(seed)
    seen = set(exclude)
    kinds = list(KINDS)
    problems: list[Problem] = []
    while len(problems) < count:
        problem = make(kinds[len(problems) % len(kinds)], rng)
        if problem.question not in seen:
            seen.add(problem.question)
            problems.append(problem)
    rng.shuffle(problems)
    return problems


def splits(seed: int = SEED) -> dict[str, list[Problem]]:
    """The train and test sets; no text stands in both."""
    test = draw(TEST_SIZE, seed)
    train = draw(TRAIN_SIZE, seed + 1, exclude={problem.question for problem in test})
    return {"train": train, "test": test}


def write(folder: Path, seed: int = SEED) -> None:
    """Write {train,test}.jsonl with one {"question", "answer"} a line."""
    sets = splits(seed)
    write_rows(
        folder,
        {
            name: [{"question": p.question, "answer": p.answer} for p in problems]
            for name, problems in sets.items()
        },
    )


def write_rows(folder: Path, sets: Mapping[str, Iterable[Mapping[str, Any]]]) -> None:
    """Write NAME.jsonl of each set, one row a line."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in sets.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
