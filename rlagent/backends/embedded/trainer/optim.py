"""Optimizer and gradient check of the embedded trainer; the rate's schedule is in
rlagent.config.schedule."""

import math
from typing import Any, Iterable, List, Tuple

import torch


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


def apply_update(optimizer: torch.optim.AdamW, lr: float, grad_clip: float) -> float:
    """Clip the gradients, step the optimizer and drop the gradients.

    A gradient that is not finite is dropped: weights and optimizer state stay as they were.

    Args:
        optimizer: With gradients accumulated.
        lr: Learning rate of this update.
        grad_clip: Largest norm of all gradients together; 0: no clipping.

    Returns:
        The norm before clipping; not finite where the update was skipped.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    limit = grad_clip if grad_clip > 0 else math.inf
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, limit))
    if math.isfinite(norm):
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm
