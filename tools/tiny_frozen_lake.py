"""Rebuild what frozen_lake comes with: `python -m tools.tiny_frozen_lake`.

Writes the maps (rlagent/assets/frozen_lake_maps) and the tiny model (rlagent/assets/frozen_lake):
transcripts of the real workflow, led by a teacher that knows the way and errs on purpose.
"""

import asyncio
import random
from collections import deque
from collections.abc import Collection, Sequence
from pathlib import Path

from rlagent.environments.frozen_lake import MOVES, draw
from rlagent.workflows.frozen_lake import walk
from rlagent.workflows.teacher import Call, TeacherClient, Transcript, converse, teacher_model
from tools.tiny_model import parts, sft, tokenizer
from tools.tiny_model.__main__ import export
from tools.tiny_model.data import write_rows

TRAIN_SIZE, TEST_SIZE = 1000, 256
ICE = 0.75
SEED = 1
TURNS = 12
CONVERSATIONS = 1500
VOCABULARY = 420
MISTAKEN = 0.35
"""Share of the teacher's moves that are drawn from all four."""

SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 3,
    "head_dim": 16,
}

FRAME = [
    "row ",
    " column ",
    *(f", {move} {kind}" for move in MOVES for kind in ("ice", "hole", "goal", "edge")),
]


def maps(count: int, seed: int, exclude: Collection[str] = (), again: bool = False) -> list[dict]:
    """`count` rows of a dataset, each with another map, none in `exclude`.

    Args:
        count: Rows.
        seed: Of the first map; the others count up from there.
        exclude: Maps.
        again: Whether a map may come again: there are only some thousands of this size.
    """
    seen, rows = set(exclude), []
    while len(rows) < count:
        lake = " ".join(draw(seed, ice=ICE))
        if lake not in seen:
            if not again:
                seen.add(lake)
            rows.append({"seed": seed, "map": lake})
        seed += 1
    return rows


def splits() -> dict[str, list[dict]]:
    """The train and test sets; no map stands in both."""
    test = maps(TEST_SIZE, 0)
    return {"test": test, "train": maps(TRAIN_SIZE, 10_000, {row["map"] for row in test})}


def distances(lake: Sequence[str]) -> dict[tuple[int, int], int]:
    """Steps to the goal from each place that has a way."""
    size = len(lake)
    found = {(size - 1, size - 1): 0}
    waiting = deque(found)
    while waiting:
        row, column = waiting.popleft()
        for down, right in MOVES.values():
            place = row + down, column + right
            inside = 0 <= place[0] < size and 0 <= place[1] < size
            if inside and place not in found and lake[place[0]][place[1]] != "H":
                found[place] = found[row, column] + 1
                waiting.append(place)
    return found


def lesson(lake: Sequence[str], mistaken: float, rng: random.Random) -> list[Call]:
    """The moves of one walk, to the goal, into a hole, or until the turns are over."""
    size, far, place, calls = len(lake), distances(lake), (0, 0), []
    while len(calls) < TURNS and lake[place[0]][place[1]] in "SF":
        after = {
            move: (min(max(place[0] + down, 0), size - 1), min(max(place[1] + right, 0), size - 1))
            for move, (down, right) in MOVES.items()
        }
        shortest = min(far.get(there, size**2) for there in after.values())
        best = [move for move, there in after.items() if far.get(there) == shortest]
        move = rng.choice(list(MOVES) if rng.random() < mistaken else best)
        calls.append(("move", {"direction": move}))
        place = after[move]
    return calls


async def collect(count: int, seed: int, exclude: Collection[str] = ()) -> list[Transcript]:
    """Conversations about maps of their own, led by the teacher."""
    rng, model, found = random.Random(seed), teacher_model(), []
    for row in maps(count, 1_000_000, exclude, again=True):
        client = TeacherClient(lesson(row["map"].split(), MISTAKEN, rng))
        found.append(await converse(walk, model, row, client))
    return found


def build_model(folder: Path, conversations: int = CONVERSATIONS) -> None:
    """Make the tiny model from nothing."""
    shipped = {row["map"] for rows in splits().values() for row in rows}
    lessons = asyncio.run(collect(conversations, SEED, shipped))
    words = tokenizer.train(lessons, VOCABULARY, FRAME)
    model = sft.new_model(words, SEED, **SHAPE)
    sft.train(model, sft.encode(words, lessons), sft.Schedule(epochs=4), SEED)
    export(model, words, folder)


if __name__ == "__main__":
    parts.run(
        "tiny_frozen_lake",
        __doc__,
        lambda assets: write_rows(assets / "frozen_lake_maps", splits()),
        lambda assets: build_model(assets / "frozen_lake"),
    )
