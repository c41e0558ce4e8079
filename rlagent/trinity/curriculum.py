"""A curriculum by measured difficulty: Trinity's selector, without columns that estimate it before.

Trinity's estimates of a task mix what its rollouts earned with two anchors that come with the
dataset, pass rates of a weaker and a stronger model. Here the anchors are 0 and 1 for every task,
so that the mean of what all tasks earned stands in for those that were not asked yet.
"""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from trinity.buffer.selector.difficulty_estimator import InterpolationBetaPREstimator
from trinity.buffer.selector.selector import DifficultyBasedSelector

_ESTIMATES = ("alphas", "betas")


class MeasuredDifficulty(DifficultyBasedSelector):
    """Prefers tasks that earn about half of the greatest reward (dataset.order=difficulty).

    Rewards count as shares of success: what is below 0 or above 1 counts as 0 or 1. A resumed run
    goes on with the estimates, which Trinity's own selector loses, to 3 digits.
    """

    def build_diff_estimator(
        self, dataset: Any, feature_keys: list[str], config: dict[str, Any]
    ) -> InterpolationBetaPREstimator:
        """An estimator whose anchors are 0 and 1 for every task."""
        anchors = np.tile([0.0, 1.0], (len(dataset), 1))
        how = {name: config[name] for name in ("m", "lamb", "rho")}
        return InterpolationBetaPREstimator(anchors, **how)

    def feedback(self, indices: Sequence[int], values: Sequence[float]) -> None:
        """Note what the rollouts of these tasks earned, as means."""
        super().feedback(list(indices), np.clip(values, 0.0, 1.0).tolist())

    def state_dict(self) -> dict[str, Any]:
        """The position and, once something was measured, the estimates."""
        state = super().state_dict()
        if self.diff_estimator.cap_coef is None:
            return state
        state["cap_coef"] = float(self.diff_estimator.cap_coef)
        for name in _ESTIMATES:
            values = getattr(self.diff_estimator, name).astype("<f2")
            state[name] = base64.b64encode(values.tobytes()).decode()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        super().load_state_dict(state_dict)
        if "cap_coef" not in state_dict:
            return
        self.diff_estimator.cap_coef = state_dict["cap_coef"]
        found = {
            name: np.frombuffer(base64.b64decode(state_dict[name]), "<f2").astype(float)
            for name in _ESTIMATES
        }
        self.diff_estimator.set(*found.values())
