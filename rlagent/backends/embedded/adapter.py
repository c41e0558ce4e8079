"""A LoRA adapter as plain tensors: how trainer, checkpoint and engine hand it over, and how it is
added to the weights of a base model. Knows nothing of peft, which only the trainer needs.

The tensors have peft's names (base_model.model.LAYER.lora_A.weight); `SCALING` stands beside them.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from rlagent.records.checkpoints import ADAPTER, ADAPTER_CONFIG

SCALING = "lora_scaling"
"""The factor of B A, alpha / rank, as a tensor of no dimension: not one of peft's names."""

_PREFIX, _A, _B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"


def is_adapter(state: Mapping[str, Tensor]) -> bool:
    """Whether tensors that were handed over are an adapter's, not a whole model's."""
    return SCALING in state


def read_adapter(folder: Path) -> dict[str, Tensor]:
    """The adapter in a checkpoint.

    Args:
        folder: Of the checkpoint, global_step_N.

    Raises:
        FileNotFoundError: There is none.
    """
    config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    scaling = torch.tensor(config["lora_alpha"] / config["r"], dtype=torch.float64)
    return {**load_file(folder / ADAPTER), SCALING: scaling}


def deltas(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """What an adapter adds: the name of each weight of the base model, and scaling * B A.

    Raises:
        ValueError: A tensor is no part of a pair.
    """
    scaling = float(state[SCALING])
    names = {name.removesuffix(_A) for name in state if name.endswith(_A)}
    odd = sorted({*state} - {SCALING} - {name + end for name in names for end in (_A, _B)})
    if odd or not all(name + _B in state and name.startswith(_PREFIX) for name in names):
        raise ValueError(f"these tensors are no adapter of LoRA: {(odd or sorted(names))[:5]}")
    for name in sorted(names):
        # As peft merges: the product first, then the factor.
        product = state[name + _B].float() @ state[name + _A].float()
        yield name.removeprefix(_PREFIX) + ".weight", product * scaling


class Merger:
    """Gives a served model the weights base + adapter, whichever adapter it had before.

    Args:
        model: With the base's weights; those that an adapter changes are kept beside it.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self._weights = dict(model.named_parameters())
        self._base: dict[str, Tensor] = {}

    @torch.no_grad()
    def merge(self, state: Mapping[str, Tensor]) -> None:
        """Put base + adapter into the model.

        Raises:
            ValueError: If the adapter is another model's; the model's weights then stay.
        """
        changes = dict(deltas(state))
        unknown = [
            name
            for name, delta in changes.items()
            if name not in self._weights or self._weights[name].shape != delta.shape
        ]
        if unknown:
            raise ValueError(f"the adapter does not fit the model: {unknown[:5]}")
        for name, base in self._base.items():
            if name not in changes:
                self._weights[name].copy_(base)
        for name, delta in changes.items():
            weight = self._weights[name]
            base = self._base.setdefault(name, weight.detach().clone())
            weight.copy_(base + delta.to(base.dtype))
