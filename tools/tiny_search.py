"""Rebuild what the experiment search_qa ships: `python -m tools.tiny_search`.

Writes a library of invented towns with questions about them (search_qa), and a model that has
learnt to look things up from a teacher who errs now and then (tiny_search), under rlagent/assets.
"""

import asyncio
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlagent.tools.corpus import corpus
from rlagent.workflows.search_qa import answer_from_library
from rlagent.workflows.teacher import (
    Call,
    TeacherClient,
    Transcript,
    converse,
    teacher_model,
)
from tools.tiny_model import parts
from tools.tiny_model.data import write_rows

SEED = 11
TOWNS, TEST_TOWNS, LESSONS = 160, 40, 3000
MISTAKEN = 0.5
VOCABULARY = 800
SHAPE = {
    "hidden_size": 96,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
}

_HEADS = ("Ar", "Bel", "Cor", "Dun", "Els", "Fal", "Gar", "Hol", "Ith", "Jor", "Kel", "Lun", "Mor")
_TOWN, _RIVER = ("den", "wick", "ford", "by", "ham", "sted", "mouth"), ("a", "ost", "ell", "our")
_FIRST = (
    "Ada",
    "Bo",
    "Cleo",
    "Dan",
    "Eva",
    "Finn",
    "Gus",
    "Ida",
    "Jon",
    "Kit",
    "Lea",
    "Max",
    "Ora",
)
_LAST = ("Berg", "Cole", "Dorn", "Ek", "Frost", "Hale", "Ibsen", "Lind", "Marsh", "Oaks", "Penn")
_LAST += ("Reed", "Stone", "Vale")
_GOODS = ("bells", "boats", "bread", "cheese", "clocks", "glass", "honey", "lamps", "pots", "rugs")

CLUES = {"river": "the town on the river {}", "mayor": "the town whose mayor is {}"}
ASKED = {
    "town": "What is {} called?",
    "mayor": "Who is the mayor of {}?",
    "river": "On which river lies {}?",
    "goods": "What is {} known for?",
    "year": "When was {} founded?",
}


@dataclass(frozen=True)
class Town:
    """A text of the library."""

    town: str
    river: str
    mayor: str
    goods: str
    year: str

    @property
    def text(self) -> str:
        return (
            f"{self.town} lies on the river {self.river}. Its mayor is {self.mayor}. "
            f"It is known for {self.goods}. It was founded in {self.year}."
        )


@dataclass(frozen=True)
class Question:
    """Something to look up: by which clue, and what of the town."""

    town: Town
    clue: str
    asked: str

    @property
    def text(self) -> str:
        return ASKED[self.asked].format(CLUES[self.clue].format(getattr(self.town, self.clue)))

    @property
    def answer(self) -> str:
        return getattr(self.town, self.asked)


def towns() -> list[Town]:
    """The library's towns, each with a river and a mayor of its own."""
    rng = random.Random(SEED)
    middles = ("", "an", "el", "in", "or")
    names = [f"{a}{b}{c}" for a in _HEADS for b in middles for c in _TOWN]
    rivers = [f"{a}{b}{c}" for a in _HEADS for b in (*middles, "um") for c in _RIVER]
    people = [f"{a} {b}" for a in _FIRST for b in _LAST]
    drawn = zip(
        rng.sample(names, TOWNS), rng.sample(rivers, TOWNS), rng.sample(people, TOWNS), strict=True
    )
    return [
        Town(town, river, mayor, rng.choice(_GOODS), str(rng.randint(1100, 1899)))
        for town, river, mayor in drawn
    ]


def questions(of: list[Town]) -> list[Question]:
    """All questions about these towns."""
    return [
        Question(town, clue, asked)
        for town in of
        for clue in CLUES
        for asked in ASKED
        if asked != clue
    ]


def write_data(folder: Path) -> None:
    """Write corpus.jsonl and {train,test}.jsonl; the held-out questions are about other towns."""
    library = towns()
    sets = {"test": library[:TEST_TOWNS], "train": library[TEST_TOWNS:]}
    rows: dict[str, list[dict[str, str]]] = {
        name: [{"question": q.text, "answer": q.answer} for q in questions(of)]
        for name, of in sets.items()
    }
    for tasks in rows.values():
        random.Random(SEED).shuffle(tasks)
    rows["corpus"] = [{"title": town.town, "text": town.text} for town in library]
    write_rows(folder, rows)


def calls(question: Question, others: list[Town], rng: random.Random) -> list[Call]:
    """How a teacher looks it up: often right, else with one slip."""
    town, clue = question.town, getattr(question.town, question.clue)
    slip = rng.choice(("query", "title", "answer", "unread")) if rng.random() < MISTAKEN else ""
    query = rng.choice((question.clue, question.asked)) if slip == "query" else clue
    title = rng.choice(others).town if slip == "title" else town.town
    wrong = [field for field in ASKED if field not in (question.asked, question.clue)]
    asked = rng.choice(wrong) if slip in ("answer", "unread") else question.asked
    steps: list[Call] = [("search", {"query": query})]
    if slip not in ("query", "unread"):
        steps.append(("read", {"title": title}))
    return [*steps, ("generate_response", {"result": getattr(town, asked)})]


async def _lessons(library: str) -> list[Transcript]:
    rng = random.Random(SEED + 1)
    known = towns()[TEST_TOWNS:]
    asked = questions(known)
    model: Any = teacher_model()

    async def agent(task: dict, model: Any) -> Any:
        return await answer_from_library(task, model, {}, library=library)

    corpus.cache_clear()
    found = []
    for _ in range(LESSONS):
        question = rng.choice(asked)
        task = {"question": question.text, "answer": question.answer}
        client = TeacherClient(calls(question, known, rng))
        found.append(await converse(agent, model, task, client))
    return found


def build_model(folder: Path, library: Path) -> None:
    """Make the tiny model from nothing: transcripts, tokenizer, training, export."""
    from tools.tiny_model import sft, tokenizer
    from tools.tiny_model.__main__ import export

    taught = asyncio.run(_lessons(str(library)))
    words = tokenizer.train(taught, VOCABULARY)
    model = sft.new_model(words, SEED, **SHAPE)
    examples = sft.encode(words, taught)
    print(f"{sum(len(one.tokens) for one in examples) / len(examples):.0f} tokens a conversation")
    sft.train(model, examples, sft.Schedule(epochs=3, batch=32), SEED)
    export(model, words, folder)


if __name__ == "__main__":
    parts.run(
        "tiny_search",
        __doc__,
        lambda assets: write_data(assets / "search_qa"),
        lambda assets: build_model(assets / "tiny_search", assets / "search_qa"),
    )
