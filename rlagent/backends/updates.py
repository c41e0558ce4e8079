"""Which experiences of a step go into which of its updates, for both trainers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Updates:
    """How often a step updates the weights.

    Args:
        parts: Mini-batches that a pass over the experiences is split into, one update each.
        epochs: Passes.
        seed: Of the shuffles before the splits.
        most: Most experiences of a mini-batch; 0: any number.
    """

    parts: int = 1
    epochs: int = 1
    seed: int = 0
    most: int = 0

    @classmethod
    def of(cls, trainer_config: Mapping[str, Any] | None, seed: int = 0) -> "Updates":
        """What `trainer.trainer_config` asks for."""
        asked = trainer_config or {}
        return cls(
            parts=int(asked.get("updates_per_step") or 1),
            epochs=int(asked.get("epochs_per_step") or 1),
            seed=seed,
            most=int(asked.get("mini_batch_size") or 0),
        )

    @property
    def only_one(self) -> bool:
        """Whether every step is one update, whatever its size."""
        return self.parts == 1 and self.epochs == 1 and self.most == 0

    def split(self, count: int, step: int) -> list[list[int]]:
        """The experiences of each update of a step, by their places.

        Mini-batches of a pass differ by at most one in size, so that no update is a tiny
        remainder; each pass is shuffled again, unless it is one mini-batch.

        Args:
            count: Experiences of the step, at least one.
            step: Number of the training step, which changes the shuffle.
        """
        parts = max(self.parts, -(-count // self.most) if self.most else 1)
        parts = min(parts, count)
        if parts == 1:
            return [list(range(count)) for _ in range(self.epochs)]
        chance = np.random.default_rng(self.seed + step)
        return [
            sorted(part.tolist())
            for _ in range(self.epochs)
            for part in np.array_split(chance.permutation(count), parts)
        ]


ONE_UPDATE = Updates()
"""Every step is one update."""
