"""Advantages that Trinity computes inside the trainer (REINFORCE++, RLOO, ReMax, distillation).

Those functions want verl's DataProto. They only use its tensors, so a small stand-in is handed to
them and verl, whose import takes seconds, stays out. Group advantages (GRPO and its kin) are
computed by Trinity's experience pipeline before the trainer sees the experiences.
"""

from typing import Any, Callable, Dict, Mapping, Tuple

import numpy as np
import torch
from trinity.algorithm import ADVANTAGE_FN, KL_FN

from rlagent.upstream import trinity_imports

Field = Callable[[], torch.Tensor]


class LazyFields(dict):
    """Tensors by verl's names, all of shape (experiences, responses) unless said otherwise.

    Fields that cost a forward pass are given as functions and computed when first read.
    """

    def __init__(self, ready: Mapping[str, torch.Tensor], lazy: Mapping[str, Field]):
        super().__init__(ready)
        self._lazy = dict(lazy)

    def __missing__(self, name: str) -> torch.Tensor:
        if name not in self._lazy:
            raise KeyError(
                f"the advantage function asks for `{name}`, which the embedded trainer does not "
                f"have; it has {', '.join(sorted([*self, *self._lazy]))}"
            )
        self[name] = self._lazy[name]()
        return self[name]

    @property
    def batch_size(self) -> Tuple[int]:
        """Number of experiences, as a tensordict gives it."""
        return (self["response_mask"].shape[0],)


class StepBatch:
    """What Trinity's in-trainer advantage functions read of verl's DataProto.

    Attributes:
        batch: Tensors, written to by the functions.
        non_tensor_batch: `uid`, the task of each experience.
        meta_info: Empty.
    """

    def __init__(self, batch: LazyFields, task_ids: np.ndarray):
        self.batch = batch
        self.non_tensor_batch = {"uid": task_ids}
        self.meta_info: Dict[str, Any] = {}


class TrainerAdvantage:
    """KL penalty in the reward, then the advantage function, as verl's trainer applies them.

    Args:
        algorithm: Trinity's AlgorithmConfig after its validators.
    """

    def __init__(self, algorithm: Any):
        with trinity_imports.without_verl.apply(StepBatch):
            function = ADVANTAGE_FN.get(algorithm.advantage_fn)
        self.advantage = function(**(algorithm.advantage_fn_args or {}))
        self.penalty = KL_FN.get(algorithm.kl_penalty_fn)(**(algorithm.kl_penalty_fn_args or {}))

    def __call__(
        self, ready: Mapping[str, torch.Tensor], lazy: Mapping[str, Field], task_ids: np.ndarray
    ) -> Tuple[Dict[str, torch.Tensor], Dict[str, float]]:
        """Compute advantages of a whole step.

        Args:
            ready: `token_level_scores`, `response_mask`, `attention_mask` (of the responses) and
                `responses`, each of shape (experiences, responses).
            lazy: `old_log_probs` and `ref_log_prob`, computed if asked for.
            task_ids: Task of each experience, shape (experiences,).

        Returns:
            `advantages`, `returns` and `token_level_rewards`, and metrics named advantage/*.
        """
        step = StepBatch(LazyFields(ready, lazy), task_ids)
        step, penalty_metrics = self.penalty.apply_kl_penalty_to_reward(step)
        step, metrics = self.advantage(step)
        named = {f"advantage/{k}": float(v) for k, v in {**penalty_metrics, **metrics}.items()}
        wanted = ("advantages", "returns", "token_level_rewards")
        return {name: step.batch[name] for name in wanted}, named

    def state(self) -> Dict[str, float]:
        """What changes while training: the coefficient of an adaptive KL penalty."""
        return {"kl_penalty_coef": float(self.penalty.kl_coef)}

    def load_state(self, state: Mapping[str, float]) -> None:
        """Take back what `state` returned."""
        if "kl_penalty_coef" in state:
            self.penalty.kl_coef = state["kl_penalty_coef"]
