"""A first estimate of the GPU memory that a model needs in a layout, in GiB.

Deliberately coarse and on the safe side: weights, optimizer and a least amount of room for
activations and KV cache. It knows nothing about speed.
"""

from rlagent.config.schema import ModelShape
from rlagent.layout.layout import Layout

GIB = 1024**3
_TRAINED_BYTES = 16
"""fp32 weights, gradients and both Adam moments, per parameter (ZeRO, arXiv:1910.02054, 3.1)."""
_REFERENCE_BYTES = 2
"""A bf16 reference model for the KL loss, per parameter."""
_ROOM = 0.9
"""Share of a GPU's memory that can be planned with."""


def parameters(shape: ModelShape) -> int:
    """Return the number of parameters of a gated decoder-only transformer; 0 when unknown.

    Embeddings (twice when not tied) and per block: query and output projections (hidden x
    heads x head_dim each), key and value (hidden x kv_heads x head_dim each) and three
    feed-forward matrices. Norms are left out: below 0.01 %.
    """
    if not shape.layers:
        return 0
    attention = 2 * shape.hidden * shape.head_dim * (shape.heads + shape.kv_heads)
    feed_forward = 3 * shape.hidden * shape.intermediate
    embeddings = shape.vocab * shape.hidden * (1 if shape.tied else 2)
    return embeddings + shape.layers * (attention + feed_forward)


def kv_bytes(shape: ModelShape) -> int:
    """Return the KV cache of one token in bytes at 2 bytes a value."""
    return 2 * 2 * shape.layers * shape.kv_heads * shape.head_dim


def engine_gib(shape: ModelShape, layout: Layout, max_model_len: int) -> float:
    """Return the least memory of one GPU of an engine: weights and one full sequence, GiB."""
    needed = 2 * parameters(shape) + kv_bytes(shape) * max_model_len
    return needed / layout.tensor_parallel / GIB


def trainer_gib(
    shape: ModelShape, layout: Layout, max_model_len: int, offload: bool = False
) -> float:
    """Return the least memory of one trainer GPU in GiB.

    Sharded weights, gradients and optimizer state; with `offload` all but the gradients of one
    GPU's share wait in host memory; activations are recomputed per block, so that one sequence
    leaves one hidden state per block, and the logits of one sequence in fp32 twice.
    """
    weights = parameters(shape) * (_TRAINED_BYTES + _REFERENCE_BYTES) / layout.trainer_gpus
    if offload:
        weights = parameters(shape) * 4 / layout.trainer_gpus
    tokens = max_model_len / layout.sequence_parallel
    activations = tokens * shape.hidden * shape.layers * 2
    logits = tokens * shape.vocab * 4 * 2
    return (weights + activations + logits) / GIB


def fits(
    shape: ModelShape,
    layout: Layout,
    gpu_gib: float,
    max_model_len: int,
    offload: bool = False,
) -> bool:
    """Return whether the estimate fits GPUs of `gpu_gib` GiB; an unknown shape fits."""
    if not shape.layers:
        return True
    room = gpu_gib * _ROOM
    engine = engine_gib(shape, layout, max_model_len)
    trainer = trainer_gib(shape, layout, max_model_len, offload)
    if layout.colocated:
        return engine + trainer <= room
    return engine <= room and trainer <= room
