"""LoRA around the trained model, through peft: the base stays, an adapter beside it is trained.

The model of the trainer is the same object as before, with peft's layers in the place of some of
its own. The reference model of a KL loss is this model with the adapter switched off.
"""

import copy
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rlagent.backends.embedded.adapter import SCALING
from rlagent.base.lora import ALL_LINEAR


class Adapter:
    """The adapter of a model.

    Args:
        model: The base, in evaluation mode; it is changed in place.
        options: `rank`, `alpha`, `dropout` and `target_modules` of `model.lora`.
        base: Where the base was loaded from: a hub id or a folder.

    Raises:
        ValueError: The model has no such modules.
    """

    def __init__(self, model: PreTrainedModel, options: Mapping[str, Any], base: str) -> None:
        from peft import LoraConfig, get_peft_model

        targets = list(options["target_modules"])
        config = LoraConfig(
            task_type="CAUSAL_LM",
            r=int(options["rank"]),
            lora_alpha=int(options["alpha"]),
            lora_dropout=float(options["dropout"]),
            target_modules=ALL_LINEAR if targets == [ALL_LINEAR] else targets,
            bias="none",
        )
        try:
            self._peft = get_peft_model(model, config).eval()
        except ValueError as error:
            raise ValueError(f"model.lora.target_modules={targets}: {error}") from error
        config.base_model_name_or_path = base
        self._config = config
        self._scaling = torch.tensor(config.lora_alpha / config.r, dtype=torch.float64)
        self._dropouts = [
            module
            for name, module in self._peft.named_modules()
            if ".lora_dropout." in name and isinstance(module, torch.nn.Dropout)
        ]

    @property
    def drops(self) -> bool:
        """Whether inputs of the adapter are dropped at random while it is trained."""
        return bool(self._dropouts)

    @contextmanager
    def off(self) -> Iterator[None]:
        """Within the block the model is the base."""
        with self._peft.disable_adapter():
            yield

    @contextmanager
    def training(self) -> Iterator[None]:
        """Within the block inputs of the adapter are dropped, where that was asked for."""
        for module in self._dropouts:
            module.train()
        try:
            yield
        finally:
            for module in self._dropouts:
                module.eval()

    def weights(self) -> dict[str, Tensor]:
        """The adapter's tensors by peft's names; the live ones, not copies."""
        from peft import get_peft_model_state_dict

        found = get_peft_model_state_dict(self._peft)
        return {name: value.detach() for name, value in found.items()}

    def handed_over(self) -> dict[str, Tensor]:
        """What a rollout engine needs to have base + adapter."""
        return {**self.weights(), SCALING: self._scaling}

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take the tensors of an adapter of the same form."""
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(self._peft, dict(weights))

    def config(self) -> dict[str, Any]:
        """What peft's adapter_config.json holds, as JSON has it."""
        found = {**self._config.to_dict(), "inference_mode": True}
        return dict(json.loads(json.dumps(found, default=_plain)))

    def merged(self) -> PreTrainedModel:
        """A copy of the model in which the adapter is added to the weights."""
        return copy.deepcopy(self._peft).merge_and_unload()


def _plain(value: Any) -> Any:
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, Enum):
        return value.value
    raise TypeError(f"{value!r} has no form in JSON")
