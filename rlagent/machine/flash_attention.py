"""Whether flash-attn is installed, found without importing it or torch; and what stands in for it.

A folder named flash_attn alone is not enough: some hosts have a stub of it, without kernels.
"""

import importlib.metadata
import importlib.util
from typing import Any

PACKAGE = "flash_attn"
PACKED = "rlagent_packed"
"""Name under which rlagent.backends.verl.packed registers its attention with transformers."""


def flash_attention_version() -> str | None:
    """Return the version of the flash-attn that verl would use, None when there is none."""
    if importlib.util.find_spec(PACKAGE) is None:
        return None
    for distribution in ("flash-attn", "flash_attn"):
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def use_torch_padding() -> None:
    """Have verl in this process use torch where it would import flash_attn.bert_padding.

    Needed by every process in which verl packs or unpacks batches.
    """
    from verl.utils import attention_utils

    functions = (_index_first_axis, _pad_input, _rearrange, _unpad_input)
    attention_utils._get_attention_functions = lambda: functions


def _index_first_axis(values: Any, indices: Any) -> Any:
    """The rows of `values` at `indices`."""
    return values[indices]


def _pad_input(values: Any, indices: Any, batch: int, length: int) -> Any:
    """Packed rows back in their places of a zero tensor of shape (batch, length, ...)."""
    padded = values.new_zeros(batch * length, *values.shape[1:])
    padded[indices] = values
    return padded.view(batch, length, *values.shape[1:])


def _unpad_input(values: Any, mask: Any) -> tuple[Any, Any, Any, int, Any]:
    """The rows that the mask keeps, packed.

    Args:
        values: Shape (batch, length, ...).
        mask: Shape (batch, length); not zero keeps.

    Returns:
        As flash-attn 2.8: packed values, their indices, where each sequence begins and the end
        (int32), the longest sequence, the lengths.
    """
    import torch

    lengths = mask.sum(dim=-1, dtype=torch.int32)
    indices = torch.nonzero(mask.flatten(), as_tuple=False).flatten()
    starts = torch.nn.functional.pad(torch.cumsum(lengths, dim=0, dtype=torch.int32), (1, 0))
    packed = values.flatten(0, 1)[indices]
    return packed, indices, starts, int(lengths.max()), lengths


def _rearrange(*arguments: Any, **sizes: Any) -> Any:
    from einops import rearrange

    return rearrange(*arguments, **sizes)
