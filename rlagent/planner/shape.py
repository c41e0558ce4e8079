"""What follows from a model's shape: parameters, KV cache and operations per token."""

from collections.abc import Sequence

from rlagent.base.lora import ALL_LINEAR
from rlagent.base.model_shape import ModelShape


def block_parameters(shape: ModelShape) -> int:
    """Return the parameters of one block.

    Query and output projections (hidden x heads x head_dim each), key and value (hidden x
    kv_heads x head_dim each) and three feed-forward matrices. Norms are left out: below 0.01 %.
    """
    attention = 2 * shape.hidden * shape.head_dim * (shape.heads + shape.kv_heads)
    return attention + 3 * shape.hidden * shape.intermediate


def adapter_parameters(shape: ModelShape, rank: int, targets: Sequence[str]) -> int:
    """Return the parameters of a LoRA adapter: rank x (inputs + outputs) of each module.

    Args:
        shape: The model's shape.
        rank: Of the adapter's matrices.
        targets: Last parts of the modules' names, or ALL_LINEAR; those that are not known here
            count as the largest that is.
    """
    query, key = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    forward = shape.hidden + shape.intermediate
    widths = {
        "q_proj": shape.hidden + query,
        "k_proj": shape.hidden + key,
        "v_proj": shape.hidden + key,
        "o_proj": query + shape.hidden,
        "gate_proj": forward,
        "up_proj": forward,
        "down_proj": forward,
    }
    named = widths if ALL_LINEAR in targets else targets
    return rank * shape.layers * sum(widths.get(name, forward) for name in named)


def parameters(shape: ModelShape) -> int:
    """Return the number of parameters of a gated decoder-only transformer; 0 when unknown.

    Blocks and embeddings, the latter twice when not tied.
    """
    if not shape.layers:
        return 0
    embeddings = shape.vocab * shape.hidden * (1 if shape.tied else 2)
    return embeddings + shape.layers * block_parameters(shape)


def kv_bytes(shape: ModelShape) -> int:
    """Return the KV cache of one token in bytes at 2 bytes a value."""
    return 2 * 2 * shape.layers * shape.kv_heads * shape.head_dim


def forward_flops(shape: ModelShape, context: float) -> float:
    """Return the operations of one token's forward pass.

    Two per weight of the blocks and of the output layer, and two matrix products of the
    attention with `context` earlier tokens each (arXiv:2205.05198, appendix A).

    Args:
        shape: The model's shape.
        context: Tokens that the token attends to; of a whole sequence, half of it on average.
    """
    weights = shape.layers * block_parameters(shape) + shape.vocab * shape.hidden
    attention = 4 * context * shape.heads * shape.head_dim * shape.layers
    return 2 * weights + attention
