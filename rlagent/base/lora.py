"""`model.lora`: the settings of an adapter, which configuration, planner and trainers read."""

from dataclasses import dataclass, field
from typing import List, Optional

from rlagent.base.limits import number
from rlagent.base.origins import Recorded

ALL_LINEAR = "all-linear"
"""peft's word for every linear layer but the output layer."""


@dataclass
class LoraConfig(Recorded):
    """LoRA: the model's weights stay, and a small adapter beside them is trained (docs/lora.md)."""

    # Rank of the adapter's matrices; null: no adapter, the whole model is trained.
    rank: Optional[int] = number(None, 1, 512)
    # What the adapter adds is scaled by alpha / rank.
    alpha: int = number(32, 1, 1_000_000)
    # Share of the adapter's inputs that are dropped in an update, at random; for the embedded
    # trainer, which then trains on one core.
    dropout: float = number(0.0, 0, below=1)
    # Modules that get an adapter, by the last part of their names, such as [q_proj,v_proj];
    # [all-linear]: every linear layer but the output layer.
    target_modules: List[str] = field(default_factory=lambda: [ALL_LINEAR])
