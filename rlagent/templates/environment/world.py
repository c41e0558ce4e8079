"""A world to act in: a number from 0 to 9 is guessed, and every guess is commented on.

It is yours to change. `reset` begins an episode, `step` acts once, `close` gives back
what the world holds; each may be a coroutine function. It runs in a process of its
own, and one rollout after the other acts in it.
"""

import re

from rlagent.environments import Step


class World:
    """Knows the number; `most` guesses are free, and the last one ends the episode."""

    def __init__(self, most: int = 4) -> None:
        self.most, self.number, self.guesses = most, 0, 0

    def reset(self, number: int) -> Step:
        """Begin an episode with this number."""
        self.number, self.guesses = number, 0
        return Step("Guess a whole number from 0 to 9.")

    def step(self, action: str) -> Step:
        """Comment on a guess, the first number in a text; 1.0 for the right one."""
        self.guesses += 1
        guess = re.search(r"\d+", action)
        if guess and int(guess[0]) == self.number:
            return Step("That is it.", reward=1.0, done=True)
        over = self.guesses >= self.most
        if not guess:
            return Step("That is no number.", done=over)
        comment = "higher" if int(guess[0]) < self.number else "lower"
        return Step(f"No, it is {comment}.", done=over)

    def close(self) -> None:
        """Nothing is held."""
