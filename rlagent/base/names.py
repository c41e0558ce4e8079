"""Nearest names: what a mistyped key, preset or function was probably meant to be."""

from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher

_ENOUGH = 0.6
"""Similarity from which on a suggestion helps more than it misleads (difflib's own cutoff)."""


_LONGEST = 200
"""Characters of a name that is compared; a longer one is no slip, and takes long to compare."""

_SWAPPED = 0.95
"""Similarity of words that differ by two letters in the wrong order: one slip, which difflib
counts as two."""


def _similar(a: str, b: str) -> float:
    a, b = a.lower(), b.lower()
    ratio = SequenceMatcher(None, a, b, autojunk=False).ratio()
    return max(ratio, _SWAPPED) if _is_swap(*_differing(a, b)) else ratio


def _differing(a: str, b: str) -> tuple[str, str]:
    """Strip the common prefix and suffix of two words."""
    start = _alike(a, b)
    a, b = a[start:], b[start:]
    end = _alike(a[::-1], b[::-1])
    return a[: len(a) - end], b[: len(b) - end]


def _alike(a: str, b: str) -> int:
    """Return how many letters two words begin with alike."""
    pairs = enumerate(zip(a, b, strict=False))
    return next((index for index, (x, y) in pairs if x != y), min(len(a), len(b)))


def _is_swap(a: str, b: str) -> bool:
    return len(a) == 2 and a == b[::-1] and a != b


def is_one_slip(a: str, b: str) -> bool:
    """Return whether one letter is missing, added or another, or two stand in the wrong order.

    >>> is_one_slip("eval/sucess", "eval/success"), is_one_slip("eval/f1", "eval/success")
    (True, False)
    """
    left, right = _differing(a, b)
    return sorted((len(left), len(right))) in ([0, 1], [1, 1]) or _is_swap(left, right)


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate most like `name`, or None when none is like it.

    Dotted keys are compared as a whole and by their last part, so that a key in the wrong
    group is found too. Of equal ones the least nested wins, then the first.

    >>> nearest("algorithm.lrr", ["algorithm.lr", "model.path"])
    'algorithm.lr'
    >>> nearest("total_steps", ["model.recipe.total_steps", "algorithm.total_steps"])
    'algorithm.total_steps'
    >>> nearest("modle", ["monitor.mode", "model"])
    'model'
    """
    if len(name) > _LONGEST:
        return None
    leaf = name.rsplit(".", 1)[-1]
    best, best_score = None, (0.0, 0)
    for candidate in candidates:
        score = _similar(name, candidate)
        candidate_leaf = candidate.rsplit(".", 1)[-1]
        if (leaf, candidate_leaf) != (name, candidate):
            # A little less than a match of the whole key, so that the latter wins a tie.
            score = max(score, 0.95 * _similar(leaf, candidate_leaf))
        ranked = (score, -candidate.count("."))
        if ranked > best_score:
            best, best_score = candidate, ranked
    return best if best_score[0] >= _ENOUGH else None


def listed(intro: str, choices: Sequence[str], remedy: str) -> str:
    """Return the choices after `intro`; nothing when a remedy names the only one already.

    >>> listed("; there are ", ["cpu", "gpu"], "did you mean cpu?")
    '; there are cpu, gpu'
    >>> listed("; there is ", ["cpu"], "did you mean cpu?")
    ''
    """
    if len(choices) == 1 and remedy:
        return ""
    return f"{intro}{', '.join(choices) or 'none'}"


def did_you_mean(name: str, candidates: Iterable[str], otherwise: str = "") -> str:
    """Return `did you mean X?`, or `otherwise` when nothing is near."""
    found = nearest(name, candidates)
    return f"did you mean {found}?" if found else otherwise
