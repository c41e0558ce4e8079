"""Rebuild what the experiment search_qa ships: `python -m tools.tiny_search`.

Writes two libraries of invented towns with questions about them (search_qa, and search_qa_tiny of
names that are one token each), and a model that has learnt to look things up from a teacher who
errs now and then (tiny_search), under rlagent/assets.
"""

import asyncio
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlagent.tools.corpus import Corpus, corpus
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
LIBRARIES, LESSONS = 25, 60
"""What is taught: libraries of other towns than those shipped, and lessons in each."""
MISTAKEN = 0.5
VOCABULARY = 750
EPOCHS = 10
SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
}

_HEADS = ("Ar", "Bel", "Cor", "Dun", "Els", "Fal", "Gar", "Hol", "Ith", "Jor", "Kel", "Lun", "Mor")
_MIDDLES = ("", "an", "el", "in", "or")
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
class Names:
    """What the towns of a library may have; `count` of them, the first `held_out` for testing."""

    count: int
    held_out: int
    towns: Sequence[str]
    rivers: Sequence[str]
    mayors: Sequence[str]
    years: Sequence[int]


_PEOPLE = [f"{a} {b}" for a in _FIRST for b in _LAST]
SHIPPED = {
    "search_qa": Names(
        160,
        40,
        [f"{a}{b}{c}" for a in _HEADS for b in _MIDDLES for c in _TOWN],
        [f"{a}{b}{c}" for a in _HEADS for b in (*_MIDDLES, "um") for c in _RIVER],
        _PEOPLE,
        range(1100, 1900),
    ),
    "search_qa_tiny": Names(
        80,
        20,
        [f"{a}{b}" for a in _HEADS for b in _TOWN],
        [f"{a}{b}" for a in _HEADS for b in (*_RIVER, "um", "ina", "eck")],
        _PEOPLE,
        range(1100, 1900, 40),
    ),
}
TINY = SHIPPED["search_qa_tiny"]


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


def towns(names: Names, seed: int = SEED) -> list[Town]:
    """A library's towns, each with a river and a mayor of its own."""
    rng = random.Random(seed)
    kinds = (names.towns, names.rivers, names.mayors)
    drawn = zip(*(rng.sample(kind, names.count) for kind in kinds), strict=True)
    return [
        Town(town, river, mayor, rng.choice(_GOODS), str(rng.choice(names.years)))
        for town, river, mayor in drawn
    ]


def taught_towns(number: int) -> list[Town]:
    """The towns of a library that lessons are about: the names shipped, put together otherwise."""
    return towns(TINY, SEED + 1 + number)


def questions(of: Sequence[Town]) -> list[Question]:
    """All questions about these towns."""
    return [
        Question(town, clue, asked)
        for town in of
        for clue in CLUES
        for asked in ASKED
        if asked != clue
    ]


def write_data(assets: Path) -> None:
    """Write corpus.jsonl and {train,test}.jsonl; the held-out questions are about other towns."""
    for name, names in SHIPPED.items():
        library = towns(names)
        sets = {"test": library[: names.held_out], "train": library[names.held_out :]}
        rows: dict[str, list[dict[str, str]]] = {
            split: [{"question": q.text, "answer": q.answer} for q in questions(of)]
            for split, of in sets.items()
        }
        for tasks in rows.values():
            random.Random(SEED).shuffle(tasks)
        write_rows(assets / name, {**rows, "corpus": texts(library)})


def texts(library: Sequence[Town]) -> list[dict[str, str]]:
    """The rows of corpus.jsonl."""
    return [{"title": town.town, "text": town.text} for town in library]


def calls(
    question: Question, library: Sequence[Town], index: Corpus, rng: random.Random
) -> list[Call]:
    """How a teacher looks it up: often right, else with one slip.

    The slips are to search for the kind of clue and not for the clue, to read another text than
    the one found, and to hand in something else that was read. What is handed in was always read.
    """
    slip = rng.choice(("query", "title", "answer")) if rng.random() < MISTAKEN else ""
    query = question.clue if slip == "query" else getattr(question.town, question.clue)
    first = index.search(query).split(":")[0]
    title = rng.choice(library).town if slip == "title" else first
    wrong = [field for field in ASKED if field not in (question.asked, question.clue)]
    asked = rng.choice(wrong) if slip == "answer" else question.asked
    town = next(town for town in library if town.town == title)
    return [
        ("search", {"query": query}),
        ("read", {"title": title}),
        ("generate_response", {"result": getattr(town, asked)}),
    ]


async def lessons(folder: Path, libraries: int, each: int) -> list[Transcript]:
    """Conversations about libraries of their own, which are written to `folder`."""
    rng = random.Random(SEED + 1)
    model: Any = teacher_model()
    found = []
    for number in range(libraries):
        library = taught_towns(number)
        write_rows(folder, {f"{number}": texts(library)})
        path = str(folder / f"{number}.jsonl")

        async def agent(task: dict, model: Any, path: str = path) -> Any:
            return await answer_from_library(task, model, {}, library=path)

        for question in rng.sample(questions(library), each):
            task = {"question": question.text, "answer": question.answer}
            client = TeacherClient(calls(question, library, corpus(path), rng))
            found.append(await converse(agent, model, task, client))
    return found


def frame() -> list[str]:
    """What gets a token of its own: every name, and what stands between names."""
    blank = "\0"
    found = (": ", "...Its mayor is ", ". It...", ". It was...")
    asked = [text.format(clue.format(blank)) for text in ASKED.values() for clue in CLUES.values()]
    between = {piece for text in (*asked, Town(*blank * 5).text) for piece in text.split(blank)}
    names = (*TINY.towns, *TINY.rivers, *TINY.mayors, *_GOODS, *map(str, TINY.years))
    return [*names, *CLUES, *found, *sorted(between - {""})]


def build_model(folder: Path) -> None:
    """Make the tiny model from nothing: transcripts, tokenizer, training, export."""
    from tools.tiny_model import sft, tokenizer
    from tools.tiny_model.__main__ import export

    with tempfile.TemporaryDirectory() as libraries:
        taught = asyncio.run(lessons(Path(libraries), LIBRARIES, LESSONS))
    words = tokenizer.train(taught, VOCABULARY, frame())
    model = sft.new_model(words, SEED, **SHAPE)
    examples = sft.encode(words, taught)
    print(f"{sum(len(one.tokens) for one in examples) / len(examples):.0f} tokens a conversation")
    sft.train(model, examples, sft.Schedule(epochs=EPOCHS, lr=5e-3), SEED)
    export(model, words, folder)


if __name__ == "__main__":
    parts.run(
        "tiny_search",
        __doc__,
        write_data,
        lambda assets: build_model(assets / "tiny_search"),
    )
