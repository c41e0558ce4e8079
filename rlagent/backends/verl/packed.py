"""Attention over sequences packed end to end, with the kernel that comes with torch.

It lets verl train without padding where flash-attn is not installed. verl packs the sequences
and says where they begin; transformers calls this in every layer.
"""

from itertools import pairwise
from typing import Any

import torch
from torch.nn import functional
from verl.utils.ulysses import get_ulysses_sequence_parallel_world_size

from rlagent.machine.flash_attention import PACKED


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each sequence; the signature is that of transformers.

    Args:
        module: The attention layer.
        query: Shape (1, heads, tokens, head size).
        key: Shape (1, key/value heads, tokens, head size).
        value: Likewise.
        attention_mask: None: what is packed has no padding.
        scaling: Factor of the scores; None: 1 / sqrt(head size).
        dropout: Refused unless 0.
        kwargs: `cu_seq_lens_q`: where each sequence begins, and the end; `max_length_q`.

    Returns:
        Shape (1, tokens, heads, head size), and None for the weights.

    Raises:
        ValueError: It is called without the sequences' beginnings, or for what it cannot do.
    """
    starts = kwargs.get("cu_seq_lens_q")
    if starts is None or attention_mask is not None or query.shape[0] != 1:
        raise ValueError(
            "packed attention needs packed sequences: set trinity.trainer.use_remove_padding=true"
        )
    if dropout or kwargs.get("softcap"):
        raise ValueError(
            "packed attention knows neither dropout nor softcap: use hardware.attention=sdpa"
        )
    if get_ulysses_sequence_parallel_world_size() > 1:
        raise ValueError(
            "packed attention cannot share a sequence between GPUs: take a layout without that, "
            "or install flash-attn"
        )
    window = kwargs.get("sliding_window")
    groups = query.shape[1] // key.shape[1]
    # (tokens, heads, size), as the kernel wants it.
    queries, keys, values = (
        part.squeeze(0).transpose(0, 1).to(value.dtype)
        for part in (query, _repeat(key, groups), _repeat(value, groups))
    )
    if queries.is_cuda and queries.dtype in (torch.bfloat16, torch.float16):
        longest = kwargs["max_length_q"]
        result = _by_kernel(queries, keys, values, starts, longest, scaling, window)
    else:
        result = _one_by_one(queries, keys, values, starts, scaling, window)
    return result.unsqueeze(0), None


def register() -> None:
    """Make it known to transformers in this process, as `attn_implementation`."""
    from transformers import AttentionInterface

    AttentionInterface.register(PACKED, packed_attention)


def _repeat(part: torch.Tensor, groups: int) -> torch.Tensor:
    return part if groups == 1 else part.repeat_interleave(groups, dim=1)


def _by_kernel(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    starts: torch.Tensor,
    longest: Any,
    scaling: float | None,
    window: int | None,
) -> torch.Tensor:
    """As torch calls it for nested tensors (torch/nested/_internal/sdpa.py)."""
    size = queries.shape[-1]
    # The kernel takes sizes that are multiples of 8.
    padding = -size % 8
    if padding:
        queries, keys, values = (
            functional.pad(part, (0, padding)) for part in (queries, keys, values)
        )
    most = _number(longest)
    bounds = starts.to(torch.int32)
    # A window counts the token itself.
    limits = {"window_size_left": window - 1, "window_size_right": 0} if window else {}
    output = torch.ops.aten._flash_attention_forward(
        queries.contiguous(),
        keys.contiguous(),
        values.contiguous(),
        bounds,
        bounds,
        most,
        most,
        0.0,
        True,
        False,
        scale=scaling if scaling is not None else size**-0.5,
        **limits,
    )[0]
    return output[..., :size]


_last: tuple[Any, int] | None = None


def _number(longest: Any) -> int:
    """The longest sequence as a number; asked once per batch, since it waits for the GPU."""
    global _last
    if not isinstance(longest, torch.Tensor):
        return int(longest)
    if _last is None or _last[0] is not longest:
        _last = (longest, int(longest.item()))
    return _last[1]


def _one_by_one(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    starts: torch.Tensor,
    scaling: float | None,
    window: int | None,
) -> torch.Tensor:
    """The same without the kernel: on a CPU, and in float32."""
    ends = starts.tolist()
    parts = []
    for begin, end in pairwise(ends):
        query, key, value = (
            part[begin:end].transpose(0, 1).unsqueeze(0) for part in (queries, keys, values)
        )
        mask = None
        if window and window < end - begin:
            places = torch.arange(end - begin, device=queries.device)
            apart = places.unsqueeze(1) - places
            mask = (apart >= 0) & (apart < window)
        out = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=mask is None, scale=scaling
        )
        parts.append(out.squeeze(0).transpose(0, 1))
    return torch.cat(parts)
