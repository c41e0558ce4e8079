"""Two agents of one model with rewards of their own: one guesses a sum twice, one picks a guess.

The guesser never sees the chooser, and the chooser sees both guesses. What each says is recorded by
its name, so that either is compared with itself alone.
"""

import re
from typing import Any

GUESSER = "You are the guesser. Reply with the sum, only its digits."
CHOOSER = "You are the chooser. Reply with the letter of the right sum, A or B."


async def guess_and_choose(task: dict, model: Any) -> tuple[dict[str, float], dict[str, float]]:
    """Two guesses of `task["question"]`, and the choice of one; `task["answer"]` is right.

    Returns:
        Rewards: `guesser`, the share of its guesses that are right; `chooser`, 1.0 where it picked
        a right one. Metrics: `choice`, whether it picked right where one guess alone is right,
        which is when there is something to choose.
    """
    guesser, chooser = model.as_role("guesser"), model.as_role("chooser")
    guesses = [await ask(guesser, GUESSER, task["question"]) for _ in range(2)]
    offered = f"{task['question']} A {shortened(guesses[0])} B {shortened(guesses[1])}"
    choice = (await ask(chooser, CHOOSER, offered)).upper()
    right = [same_number(guess, task["answer"]) for guess in guesses]
    picked = choice in ("A", "B") and right["AB".index(choice)]
    rewards = {"guesser": sum(right) / 2, "chooser": float(picked)}
    return rewards, {"choice": float(picked)} if sum(right) == 1 else {}


async def ask(model: Any, prompt: str, text: str) -> str:
    """What the model answers, without the white space around it."""
    reply = await model([{"role": "system", "content": prompt}, {"role": "user", "content": text}])
    return "".join(block.get("text", "") for block in reply.content).strip()


def shortened(guess: str) -> str:
    """A guess as the chooser sees it: its first number, or a question mark.

    >>> shortened("It is 12."), shortened("twelve")
    ('12', '?')
    """
    found = re.search(r"\d{1,9}", guess)
    return found[0] if found else "?"


def same_number(guess: str, answer: Any) -> bool:
    """Whether a guess is nothing but the right number.

    >>> same_number("12", "12"), same_number("12 or 13", "12")
    (True, False)
    """
    return guess.isdecimal() and guess.lstrip("0") == str(answer).lstrip("0")
