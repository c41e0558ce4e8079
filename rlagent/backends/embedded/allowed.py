"""Which tokens could be drawn at each position of a response, from the engine to the trainer.

A constrained response is drawn from the model's distribution after the grammar's mask, one with
top_p or top_k from what these leave of it, renormalised. Training on the log-probabilities before
the mask follows no policy that was ever sampled: a token that is never allowed is never drawn, so
nothing holds its probability down, and after some dozens of steps it takes over. With the masks
the trainer computes the log-probabilities of the policy that acted.

Masks are packed as xgrammar packs them: 32 tokens to an int32 word, token 0 in the lowest bit.
"""

import base64
import zlib
from typing import List, Optional, Sequence

import numpy as np
import torch

from rlagent.backends.embedded.micro_batches import Sample

EVERYTHING = -1
"""A word whose 32 tokens are all allowed."""


def encode(masks: Sequence[np.ndarray]) -> str:
    """The masks of a response as text; equal neighbours, which are common, cost almost nothing."""
    packed = np.stack(masks).astype("<i4")
    return base64.b64encode(zlib.compress(packed.tobytes(), 1)).decode()


def pack(distribution: torch.Tensor) -> np.ndarray:
    """The mask of one token.

    Args:
        distribution: Log-probabilities of all tokens, -inf for those that cannot be drawn.
    """
    finite = np.isfinite(distribution.numpy())
    bits = np.zeros(-(-len(finite) // 32) * 32, dtype=bool)
    bits[: len(finite)] = finite
    return np.packbits(bits, bitorder="little").view("<i4")


def decode(text: str, length: int) -> np.ndarray:
    """The inverse of `encode`: int32, shape (length, words).

    Raises:
        ValueError: If the text does not hold the masks of `length` tokens.
    """
    flat = np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype="<i4")
    if length == 0 or len(flat) % length:
        raise ValueError(f"masks of {len(flat)} words do not belong to {length} tokens")
    return flat.reshape(length, -1)


def of_actions(
    masks: Sequence[Optional[np.ndarray]], samples: Sequence[Sample], members: Sequence[int]
) -> Optional[torch.Tensor]:
    """Masks of the actions of some samples, flat, in the order of `members`.

    Returns:
        int32, shape (actions, words); None when none of the members was constrained.
    """
    words = next((mask.shape[1] for m in members if (mask := masks[m]) is not None), None)
    if words is None:
        return None
    parts: List[np.ndarray] = []
    for member in members:
        mask, actions = masks[member], samples[member].actions
        if mask is None:
            parts.append(np.full((len(actions), words), EVERYTHING, dtype=np.int32))
        else:
            parts.append(mask[actions])
    return torch.from_numpy(np.ascontiguousarray(np.concatenate(parts)))


def forbidden(masks: torch.Tensor, vocabulary: int) -> torch.Tensor:
    """True where a token was not allowed: shape (rows, vocabulary).

    Args:
        masks: int32, shape (rows, words).
        vocabulary: Width of the logits.
    """
    bits = (masks[:, :, None] >> torch.arange(32, dtype=torch.int32)) & 1
    return bits.reshape(len(masks), -1)[:, :vocabulary] == 0
