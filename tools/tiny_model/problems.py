"""What a word problem of gsm8k_tiny is: a question, the calculation that solves it, its wording.

Which kinds there are stands in kinds.py; how many are drawn is decided in data.py.
"""

import random
from dataclasses import dataclass

# A whole number, or (operator, left, right).
Tree = int | tuple[str, "Tree", "Tree"]

_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}

NAMES = [
    "Anna",
    "Ben",
    "Carla",
    "David",
    "Emma",
    "Felix",
    "Grace",
    "Hugo",
    "Ines",
    "Jack",
    "Kate",
    "Liam",
    "Maya",
    "Noah",
    "Olga",
    "Paul",
    "Rosa",
    "Sam",
    "Tina",
    "Victor",
]
THINGS = [
    "apples",
    "books",
    "pens",
    "cards",
    "shells",
    "stamps",
    "coins",
    "marbles",
    "cookies",
    "eggs",
    "plums",
    "stickers",
    "candles",
    "photos",
    "beads",
    "nuts",
]
GOODS = ["book", "lamp", "shirt", "ball", "cake", "pen", "mug", "ticket", "hat", "toy"]
CONTAINERS = ["boxes", "bags", "baskets", "jars"]


@dataclass(frozen=True)
class Problem:
    """One word problem: `solution` computes the answer, `notes` word its steps in order.

    A note is a sentence with `{}` where the calculation goes; there is one for each operator of
    the solution, inner ones first.
    """

    kind: str
    question: str
    solution: Tree
    notes: tuple[str, ...]

    @property
    def steps(self) -> list[tuple[str, int]]:
        """Each calculation ("3+4") with its value, in the order of solving."""
        found: list[tuple[str, int]] = []
        _walk(self.solution, found)
        return found

    @property
    def answer(self) -> str:
        """The worked answer in GSM8K's format."""
        lines = [
            note.format(f"{calculation}=<<{calculation}={value}>>{value}")
            for note, (calculation, value) in zip(self.notes, self.steps, strict=True)
        ]
        return "\n".join([*lines, f"#### {value_of(self.solution)}"])


def value_of(tree: Tree) -> int:
    """The value of a tree. Raises ValueError where a division is not exact."""
    return _walk(tree, [])


def _walk(tree: Tree, steps: list[tuple[str, int]]) -> int:
    if isinstance(tree, int):
        return tree
    operator, left_tree, right_tree = tree
    left, right = _walk(left_tree, steps), _walk(right_tree, steps)
    if operator == "/" and (right == 0 or left % right):
        raise ValueError(f"{left} is not divisible by {right}")
    value = {
        "+": lambda: left + right,
        "-": lambda: left - right,
        "*": lambda: left * right,
        "/": lambda: left // right,
    }[operator]()
    steps.append((f"{left}{operator}{right}", value))
    return value


def expression_of(tree: Tree) -> str:
    """The tree as one expression with the fewest parentheses: "(3 + 4) * 2"."""
    if isinstance(tree, int):
        return str(tree)
    operator, left, right = tree
    level = _PRECEDENCE[operator]
    left_text, right_text = expression_of(left), expression_of(right)
    if not isinstance(left, int) and _PRECEDENCE[left[0]] < level:
        left_text = f"({left_text})"
    if not isinstance(right, int) and (
        _PRECEDENCE[right[0]] < level or (_PRECEDENCE[right[0]] == level and operator in "-/")
    ):
        right_text = f"({right_text})"
    return f"{left_text} {operator} {right_text}"


class Draw:
    """Random names, things and numbers for one problem."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.n, self.m = rng.sample(NAMES, 2)
        self.things = rng.choice(THINGS)
        self.good, self.other_good = rng.sample(GOODS, 2)
        self.containers = rng.choice(CONTAINERS)

    def number(self, low: int, high: int) -> int:
        return self.rng.randint(low, high)

    def text(self, *phrasings: str, **numbers: int) -> str:
        """One of the phrasings, filled in."""
        return self.rng.choice(phrasings).format(
            n=self.n, m=self.m, things=self.things, good=self.good, other_good=self.other_good,
            containers=self.containers, **numbers,
        )  # fmt: skip
