"""Which LoRA adapter a rollout engine samples with: decisions on plain values, without vLLM.

That every request gets it is upstream/vllm.py's.
"""

from pathlib import Path
from typing import Any

from rlagent.records.checkpoints import ADAPTER, ADAPTER_CONFIG, step_folder

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes as its largest rank (MaxLoRARanks)."""

AT_ONCE = 2
"""Adapters that an engine holds: those of two versions of the weights, since rollouts that are
under way at a sync go on with the one that they began with."""


def arguments(rank: int) -> dict[str, Any]:
    """vLLM's arguments for adapters of a rank.

    >>> arguments(12)
    {'max_lora_rank': 16, 'max_loras': 2}
    """
    return {"max_lora_rank": next(each for each in RANKS if each >= rank), "max_loras": AT_ONCE}


def request_of(checkpoints: str, version: int) -> dict[str, Any] | None:
    """The arguments of vLLM's LoRARequest for the adapter of a version of the weights.

    Its name is new with each version: vLLM keeps what it computed of a prompt by that name.

    Returns:
        None before the first update, when the adapter adds nothing and need not be there.

    Raises:
        FileNotFoundError: The trainer has written none of that version.
    """
    file = step_folder(Path(checkpoints), version) / ADAPTER
    if version <= 0 and not file.is_file():
        return None
    if not file.is_file():
        raise FileNotFoundError(f"{file}: the trainer wrote no adapter of step {version}")
    number = max(1, version)
    return {"lora_name": f"step-{version}", "lora_int_id": number, "lora_path": str(file.parent)}


def first_of(modules: list[dict[str, Any]] | None) -> dict[str, Any] | None:
    """The same for the adapter that a run starts from, as a native YAML may name one.

    Args:
        modules: Trinity's `lora_modules`.
    """
    path = modules[0]["lora_path"] if modules else None
    if not path or not (Path(path) / Path(ADAPTER_CONFIG).name).is_file():
        return None
    # A number that no step has.
    return {"lora_name": "start", "lora_int_id": 2**31 - 1, "lora_path": str(path)}
