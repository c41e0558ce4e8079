"""The learning-rate schedule: a pure function of the training step, so that a resumed run needs no
scheduler state; and what another number of steps makes of it."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any


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


@dataclass(frozen=True)
class Optimizer:
    """The part of Trinity's OptimizerConfig that the rate follows from, with its defaults."""

    lr: float = 1e-6
    lr_warmup_steps: int = -1
    lr_warmup_steps_ratio: float = 0.0
    min_lr_ratio: float = 0.01
    lr_scheduler_type: str = "constant"

    def rate(self, step: int, total_steps: int) -> float:
        """The learning rate at a training step of a run of so many."""
        warmup = warmup_steps(self, total_steps)
        factor = lr_factor(step, self.lr_scheduler_type, warmup, total_steps, self.min_lr_ratio)
        return self.lr * factor


def what_changes(optimizer: dict[str, Any], trained: int, before: int, now: int) -> str:
    """Say what another number of steps changes about the rate of a run that goes on; '' if nothing.

    >>> cosine = {"lr": 1e-4, "lr_scheduler_type": "cosine", "min_lr_ratio": 0.1}
    >>> what_changes(cosine, trained=10, before=10, now=20)
    'the cosine schedule now ends at step 20, not 10: step 11 takes the rate 4.8e-05, not 1e-05'
    >>> what_changes({"lr": 1e-4}, trained=10, before=10, now=20)
    ''

    Args:
        optimizer: Trinity's `algorithm.optimizer`, or the part of it that is set.
        trained: Steps that are trained.
        before: Steps that were asked for when they were.
        now: Steps that are asked for now.
    """
    default = dataclasses.asdict(Optimizer())
    given = {name: optimizer.get(name) for name in default}
    known = {n: type(default[n])(value) for n, value in given.items() if value is not None}
    schedule = Optimizer(**known)
    if min(before, now) <= 0 or schedule.lr_scheduler_type not in ("constant", "cosine"):
        # What else there is, the trainer refuses.
        return ""
    step = trained + 1
    old, new = schedule.rate(step, before), schedule.rate(step, now)
    if before == now:
        return ""
    if schedule.lr_scheduler_type == "cosine":
        what = f"the cosine schedule now ends at step {now}, not {before}"
    elif warmup_steps(schedule, before) != warmup_steps(schedule, now) and old != new:
        what = f"the warm-up now takes {warmup_steps(schedule, now)} steps"
    else:
        return ""
    return f"{what}: step {step} takes the rate {new:.3g}, not {old:.3g}"
