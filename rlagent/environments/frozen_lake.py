"""gymnasium's FrozenLake in words: where one stands, and what lies around."""

from collections.abc import Sequence
from typing import Any

from rlagent.environments.gym import Gymnasium
from rlagent.environments.protocol import Step

# In gymnasium's order.
MOVES = {"left": (0, -1), "down": (1, 0), "right": (0, 1), "up": (-1, 0)}
KINDS = {"S": "ice", "F": "ice", "H": "hole", "G": "goal"}


MOST_ROWS, LEAST_ICE = 32, 0.6
"""Of a lake that is drawn."""


def around(lake: Sequence[str], row: int, column: int) -> str:
    """What lies around a place of a map.

    >>> around(["SF", "HG"], 0, 0)
    'left edge, down hole, right ice, up edge'
    """
    seen = []
    for move, (down, right) in MOVES.items():
        r, c = row + down, column + right
        inside = 0 <= r < len(lake) and 0 <= c < len(lake[r])
        seen.append(f"{move} {KINDS[lake[r][c]] if inside else 'edge'}")
    return ", ".join(seen)


def draw(seed: int, size: int = 4, ice: float = 0.8) -> list[str]:
    """A map that can be solved, drawn by gymnasium.

    Args:
        seed: The same seed gives the same map.
        size: Rows, and columns.
        ice: How likely a place is no hole.

    Raises:
        ValueError: Hardly any map of that kind can be solved, so that drawing one would not end.
    """
    if not (2 <= size <= MOST_ROWS and LEAST_ICE <= ice <= 1):
        raise ValueError(
            f"a lake of size={size!r} and ice={ice!r} cannot be drawn: size is from 2 to "
            f"{MOST_ROWS}, ice from {LEAST_ICE} to 1"
        )
    from gymnasium.envs.toy_text.frozen_lake import generate_random_map

    return generate_random_map(size, ice, seed)


class FrozenLake:
    """Walk from S to G over ice (F) without falling into a hole (H).

    Args:
        slippery: Whether two of three moves go astray, as on gymnasium's lake.
        limit: Moves after which an episode is cut off.
    """

    def __init__(self, slippery: bool = False, limit: int = 16) -> None:
        self._slippery, self._limit = slippery, limit
        self._lake: list[str] = []
        self._inner: Gymnasium | None = None

    def reset(self, lake: Sequence[str], seed: int | None = None) -> Step:
        """Stand at the start of a map.

        Args:
            lake: Its rows.
            seed: Of where one slips.
        """
        # A map is fixed when gymnasium makes the environment.
        self.close()
        self._lake = list(lake)
        self._inner = Gymnasium(
            "FrozenLake-v1",
            actions=list(MOVES),
            show=self._show,
            desc=self._lake,
            is_slippery=self._slippery,
            max_episode_steps=self._limit,
            disable_env_checker=True,
        )
        return self._inner.reset(seed=seed)

    def step(self, action: str) -> Step:
        """Move `left`, `down`, `right` or `up`."""
        assert self._inner is not None, "reset() comes first"
        return self._inner.step(action)

    def close(self) -> None:
        """Close gymnasium's."""
        if self._inner is not None:
            self._inner.close()
            self._inner = None

    def _show(self, _: Any, place: int) -> str:
        row, column = divmod(int(place), len(self._lake[0]))
        kind = self._lake[row][column]
        if kind in "GH":
            return f"You are at the {KINDS[kind]}."
        return f"row {row + 1} column {column + 1}, {around(self._lake, row, column)}"
