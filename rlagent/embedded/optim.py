"""Optimizer, learning-rate schedule and gradient check of the embedded trainer.

The schedule is a pure function of the training step, so a resumed run needs no scheduler state.
"""

import math
from typing import Any, Iterable, List, Tuple

import torch


class GradientError(RuntimeError):
    """A gradient was not finite; the update was not applied."""


def lr_factor(
    step: int, schedule: str, warmup_steps: int, total_steps: int, min_ratio: float
) -> float:
    """Share of the peak learning rate at a training step.

    Linear warm-up from 1/warmup_steps to 1, then `constant`, or `cosine` down to `min_ratio` at
    `total_steps` (Loshchilov and Hutter, 2017, without restarts).

    Args:
        step: Training step, the first is 1.
        schedule: `constant` or `cosine`.
        warmup_steps: Steps of warm-up; 0: none.
        total_steps: Steps of the run; only the cosine asks for them.
        min_ratio: Where the cosine ends, in [0, 1].

    Raises:
        ValueError: For another schedule, or a cosine without an end.
    """
    if schedule not in ("constant", "cosine"):
        raise ValueError(
            f"algorithm.optimizer.lr_scheduler_type={schedule}; allowed: constant, cosine"
        )
    if schedule == "cosine" and total_steps <= 0:
        raise ValueError(
            "algorithm.optimizer.lr_scheduler_type=cosine needs trainer.total_steps, the step at "
            "which it ends"
        )
    if step <= warmup_steps:
        return step / warmup_steps
    if schedule == "constant":
        return 1.0
    progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return min_ratio + (1.0 - min_ratio) * 0.5 * (1.0 + math.cos(math.pi * progress))


def warmup_steps(optimizer: Any, total_steps: int) -> int:
    """Steps of warm-up: `lr_warmup_steps`, or if negative the ratio of the total steps."""
    if optimizer.lr_warmup_steps >= 0:
        return optimizer.lr_warmup_steps
    return int(optimizer.lr_warmup_steps_ratio * total_steps)


def make_optimizer(
    named_parameters: Iterable[Tuple[str, torch.nn.Parameter]], optimizer: Any
) -> Tuple[torch.optim.AdamW, List[str]]:
    """AdamW over all parameters, and their names in the optimizer's order.

    Args:
        named_parameters: Of the model; those without gradients are left out.
        optimizer: Trinity's OptimizerConfig.

    Raises:
        ValueError: For an optimizer type other than Adam.
    """
    if optimizer.optimizer_type not in ("adam", "adamw"):
        raise ValueError(
            f"algorithm.optimizer.optimizer_type={optimizer.optimizer_type}: the embedded trainer "
            "has AdamW only; set it to adam"
        )
    trained = [(name, p) for name, p in named_parameters if p.requires_grad]
    adamw = torch.optim.AdamW(
        [p for _, p in trained],
        lr=optimizer.lr,
        betas=tuple(optimizer.betas),
        weight_decay=optimizer.weight_decay,
        fused=True,
    )
    return adamw, [name for name, _ in trained]


def apply_update(optimizer: torch.optim.AdamW, lr: float, grad_clip: float, step: int) -> float:
    """Clip the gradients, step the optimizer and drop the gradients.

    Args:
        optimizer: With gradients accumulated.
        lr: Learning rate of this update.
        grad_clip: Largest norm of all gradients together; 0: no clipping.
        step: Training step, for the message.

    Returns:
        The norm before clipping.

    Raises:
        GradientError: If it is not finite. Weights and optimizer state are left as they were.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    limit = grad_clip if grad_clip > 0 else math.inf
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, limit))
    if not math.isfinite(norm):
        optimizer.zero_grad(set_to_none=True)
        raise GradientError(
            f"step {step}: the gradient norm is {norm}; the update was not applied. Usual causes: "
            "a learning rate that is too high (algorithm.lr), rewards that are not finite, or "
            "log-probabilities far from those of the rollout"
        )
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm
