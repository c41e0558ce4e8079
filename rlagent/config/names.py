"""Nearest names: what a mistyped key, preset or function was probably meant to be."""

from collections.abc import Iterable
from difflib import SequenceMatcher

_ENOUGH = 0.6
"""Similarity from which on a suggestion helps more than it misleads (difflib's own cutoff)."""


def _similar(a: str, b: str) -> float:
    return SequenceMatcher(None, a.lower(), b.lower(), autojunk=False).ratio()


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate most like `name`, or None when none is like it.

    Dotted keys are compared as a whole and by their last part, so that a key in the wrong
    group is found too. Of equal ones the least nested wins, then the first.

    >>> nearest("algorithm.lrr", ["algorithm.lr", "model.path"])
    'algorithm.lr'
    >>> nearest("total_steps", ["model.recipe.total_steps", "algorithm.total_steps"])
    'algorithm.total_steps'
    """
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


def did_you_mean(name: str, candidates: Iterable[str], otherwise: str = "") -> str:
    """Return `did you mean X?`, or `otherwise` when nothing is near."""
    found = nearest(name, candidates)
    return f"did you mean {found}?" if found else otherwise
