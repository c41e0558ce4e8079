"""How much memory each role of a layout needs per GPU, part by part, from the shape alone.

Peaks, not averages. What the numbers are held against is tests/unit/data/measured_memory.json;
what cannot be derived is in constants.py.
"""

import math
from dataclasses import dataclass

from rlagent.base.model_shape import ModelShape
from rlagent.planner import constants as const
from rlagent.planner.layout import Layout
from rlagent.planner.shape import block_parameters, kv_bytes, parameters
from rlagent.planner.workload import Workload

GIB = 1024**3
HALF = 2
"""Bytes of a bf16 number."""
FULL = 4
"""Bytes of an fp32 number."""


ADAPTERS_HELD = 2
"""Adapters that an engine has room for (backends/vllm/adapters.py)."""


@dataclass(frozen=True)
class RoleMemory:
    """The peak of one role on one of its GPUs.

    Args:
        role: rollout or trainer.
        parts: What it consists of, GiB; what is not there at the peak is left out.
    """

    role: str
    parts: dict[str, float]

    @property
    def gib(self) -> float:
        """All parts together, GiB."""
        return sum(self.parts.values())

    def words(self) -> str:
        """Return the parts in words, the largest first."""
        ranked = sorted(self.parts.items(), key=lambda item: -item[1])
        return ", ".join(f"{name} {gib:.1f}" for name, gib in ranked if gib >= 0.05)


def trainer_memory(
    shape: ModelShape, layout: Layout, work: Workload, offload: bool = False
) -> RoleMemory:
    """Return the peak of one trainer GPU: verl 0.8 with FSDP2 as Trinity sets it.

    The largest of several moments: the logits of a full micro-batch, the gradients of a block and
    of the embeddings, the optimizer's step, and the weights on their way to the engines. The
    reference model waits in host memory (FSDP2's CPUOffloadPolicy) and its pass keeps nothing
    for gradients: it is never the peak.
    """
    state = _state(shape, layout, work, offload)
    copy = 0 if offload or work.adapter else const.ADAM_COPY_BYTES
    optimizer = state | {"optimizer step": copy * parameters(shape) / layout.trainer_gpus / GIB}
    sent = {"weight sync": _sync_bytes(shape, layout, work) / GIB} if layout.engines else {}
    sync = state | sent
    passes = _passes(shape, layout, work, offload)
    peaks = [*(state | part for part in passes), optimizer, sync]
    return RoleMemory("trainer", max(peaks, key=lambda parts: sum(parts.values())))


def host_gib(
    shape: ModelShape, layout: Layout, work: Workload, offload: bool, gpus_per_node: int
) -> float:
    """Return what a trainer keeps in the host memory of a node: the reference model, and offloaded
    weights and gradients, pinned, and Adam's moments; of several nodes the one with most."""
    # With LoRA the reference is the base on the GPUs.
    pinned = const.WEIGHT_BYTES if work.reference and not work.adapter else 0
    moments = 0
    if offload:
        pinned += const.WEIGHT_BYTES + const.GRADIENT_BYTES
        moments = const.MOMENT_BYTES
    here = min(layout.trainer_gpus, gpus_per_node) / layout.trainer_gpus
    return (const.HOST_PINNED * pinned + moments) * parameters(shape) * here / GIB


def _sync_bytes(shape: ModelShape, layout: Layout, work: Workload) -> float:
    """Return what the weights need on their way to the engines."""
    if work.adapter:
        # Gathered, and written to a file.
        return FULL * work.adapter
    largest = _largest_matrix(shape)
    if layout.colocated and work.max_lag:
        # One by one through host memory: gathered in fp32, cast.
        return 2 * largest * (FULL + HALF)
    if layout.colocated:
        # All of them, read where they are; the next one is gathered in fp32, cast.
        return HALF * parameters(shape) + largest * (FULL + HALF)
    # The tensors of a full buffer and the buffer that they are copied into, while the buffer
    # before is still being sent; the next tensor is gathered in fp32.
    first = _sync_buffer(shape)
    second = min(first, HALF * parameters(shape) - first)
    return max(2 * first, first + 2 * second) + largest * FULL


def _sync_buffer(shape: ModelShape) -> float:
    """Return the bytes of vLLM's largest packed buffer: filled until it is over its size."""
    over = const.SYNC_BUFFER_GIB * GIB + _largest_matrix(shape) * HALF
    return min(HALF * parameters(shape), over)


def _state(shape: ModelShape, layout: Layout, work: Workload, offload: bool) -> dict[str, float]:
    """Return what stays through a step: shards of weights, gradients and both moments, GiB."""
    shard = parameters(shape) / layout.trainer_gpus / GIB
    if offload:
        # FSDP2's CPUOffloadPolicy (Trinity's trainer.offload_policy) has all of it live in host
        # memory. verl's param_offload and optimizer_offload bring it back before the first
        # micro-batch (verl/workers/engine/base.py, BaseEngineCtx), and so lower no peak.
        return {"context": const.TRAINER_CONTEXT_GIB}
    if work.adapter:
        return {
            "context": const.TRAINER_CONTEXT_GIB,
            "weights": const.BASE_BYTES * shard,
            "adapter": const.ADAPTER_BYTES * work.adapter / layout.trainer_gpus / GIB,
        }
    return {
        "context": const.TRAINER_CONTEXT_GIB,
        "weights": const.WEIGHT_BYTES * shard,
        "gradients": const.GRADIENT_BYTES * shard,
        "optimizer": const.MOMENT_BYTES * shard,
    }


def _passes(
    shape: ModelShape, layout: Layout, work: Workload, offload: bool
) -> list[dict[str, float]]:
    """Return what a micro-batch adds at each moment that may be its peak, GiB.

    What is offloaded passes through in fp32: the shards of the block at work and the next one, or
    those of the embeddings; none while there are logits.
    """
    tokens = _tokens_at_once(shape, layout, work)
    gpus = layout.trainer_gpus
    kept = tokens * shape.hidden * shape.layers * HALF
    # Embeddings and output layer are whole in bf16 while a micro-batch runs, and so is the block
    # at work with the next one. When embeddings are not tied, they are whole only at their turn.
    embeddings, block = shape.vocab * shape.hidden, block_parameters(shape)
    gathered = (embeddings + 2 * block) * HALF
    # Logits exist before any gradient of a weight, and are gone when those of the blocks come.
    # Going forward, the entropy's pieces stand beside them; going back, their own copies.
    one = tokens * shape.vocab * HALF
    pieces = const.LOGITS_PIECES_GIB * GIB
    copies = const.LOGITS_COPIES_ENTROPY if work.entropy else const.LOGITS_COPIES
    logits = max(one + pieces, copies * one)
    width = shape.heads * shape.head_dim + 2 * shape.kv_heads * shape.head_dim
    recomputed = tokens * (
        const.BLOCK_HIDDEN_BYTES * shape.hidden
        + const.BLOCK_HEAD_BYTES * width
        + const.BLOCK_FEED_FORWARD_BYTES * shape.intermediate
    )
    # A block's gradients: bf16, copied to fp32 and summed over the GPUs into shards, while the
    # copy of the block before may still be there. Tied embeddings wait with theirs until the end.
    reduced = block * (HALF + 2 * FULL + FULL / gpus) + embeddings * HALF
    sums = const.SUMMED_COPIES if gpus == 1 else const.SUMMED_COPIES_SHARDED
    summed = {"summed gradients": sums * embeddings * FULL}
    passing = FULL / gpus if offload else 0
    if work.adapter:
        # The base has no gradients, and nothing is summed.
        reduced, summed = 0, {}
    moments = [
        {"activations": kept, "gathered blocks": gathered, "logits": logits} | summed,
        {
            "activations": kept + recomputed,
            "gathered blocks": gathered + reduced,
            "shards in passing": passing * 2 * block,
        }
        | summed,
        # The sum itself.
        {
            "gathered blocks": gathered + embeddings * (FULL + max(HALF, FULL / gpus)),
            "shards in passing": passing * embeddings,
        },
    ]
    if work.adapter:
        moments.pop()
    return [{name: value / GIB for name, value in parts.items()} for parts in moments]


def _tokens_at_once(shape: ModelShape, layout: Layout, work: Workload) -> float:
    """Return the tokens of one micro-batch on one GPU; no more than a step can have."""
    most = work.experiences * work.max_model_len / layout.trainer_gpus
    share = max(most, work.max_model_len / layout.sequence_parallel)
    return min(work.micro_batch(shape.vocab), math.ceil(share))


def _largest_matrix(shape: ModelShape) -> int:
    return shape.hidden * max(shape.vocab, shape.intermediate)


def engine_memory(shape: ModelShape, layout: Layout, work: Workload) -> RoleMemory:
    """Return the least that one GPU of an engine needs to serve one full sequence.

    vLLM takes its share of the GPU (`takes`) whatever it needs, and refuses to start when the
    share does not hold this.
    """
    tensor = layout.tensor_parallel
    parts = {
        "context": const.ENGINE_CONTEXT_GIB,
        "weights": _served_bytes(shape) / tensor / GIB,
        "KV cache": _kv_per_gpu(shape, tensor) * work.max_model_len / GIB,
        "activations": _profile_bytes(shape, layout, work) / GIB,
    }
    if work.adapter:
        parts["adapters"] = ADAPTERS_HELD * HALF * work.adapter / tensor / GIB
    if work.graphs:
        parts["CUDA graphs"] = const.GRAPH_GIB_PER_BLOCK * shape.layers
    return RoleMemory("rollout", parts)


def share(shape: ModelShape, layout: Layout, work: Workload, gpu_gib: float) -> float:
    """Return the share of a GPU's memory that vLLM takes.

    Unless the workload says it: a quarter when colocated, as Trinity does, with LoRA more where
    the engine needs it; else 0.9, or less where the weights that arrive would not fit beside it.
    """
    if work.utilization is not None:
        return work.utilization
    if layout.colocated and work.adapter and gpu_gib:
        needed = engine_memory(shape, layout, work).gib / gpu_gib + const.ADAPTERS_KV_SHARE
        return min(const.MOST_SHARE, max(const.COLOCATED_SHARE, math.ceil(100 * needed) / 100))
    if layout.colocated:
        return const.COLOCATED_SHARE
    beside = _beside_share(shape, layout, work) + const.SPARE_GIB
    return max(0.01, min(const.MOST_SHARE, math.floor(100 * (1 - beside / gpu_gib)) / 100))


def takes_gib(shape: ModelShape, layout: Layout, work: Workload, gpu_gib: float) -> float:
    """Return what vLLM takes of a GPU: its share and, beside it, weights that arrive."""
    return share(shape, layout, work, gpu_gib) * gpu_gib + _beside_share(shape, layout, work)


def _beside_share(shape: ModelShape, layout: Layout, work: Workload) -> float:
    if work.adapter:
        return 0.0 if layout.colocated else const.ENGINE_BESIDE_ADAPTERS_GIB
    if layout.colocated:
        return _largest_matrix(shape) * HALF / GIB
    # Two packed buffers in turns, received by every GPU of the engine.
    arriving = min(2 * _sync_buffer(shape), HALF * parameters(shape))
    return const.ENGINE_BESIDE_GIB + arriving / GIB


def kv_gib(shape: ModelShape, layout: Layout, work: Workload, gpu_gib: float) -> float:
    """Return what is left for the KV cache of one engine's GPU, GiB; may be below 0."""
    parts = engine_memory(shape, layout, work).parts
    other = sum(gib for name, gib in parts.items() if name != "KV cache")
    return share(shape, layout, work, gpu_gib) * gpu_gib - other


def sequences_at_once(shape: ModelShape, layout: Layout, work: Workload, gpu_gib: float) -> float:
    """Return how many usual sequences the KV cache of one engine holds."""
    per_sequence = _kv_per_gpu(shape, layout.tensor_parallel) * work.usual_tokens / GIB
    return kv_gib(shape, layout, work, gpu_gib) / per_sequence


def _served_bytes(shape: ModelShape) -> float:
    """Return the bf16 weights with the vocabulary padded as vLLM pads it."""
    padded = math.ceil(shape.vocab / const.VOCAB_PADDING) * const.VOCAB_PADDING
    extra = (padded - shape.vocab) * shape.hidden * (1 if shape.tied else 2)
    return HALF * (parameters(shape) + extra)


def _kv_per_gpu(shape: ModelShape, tensor: int) -> float:
    """Return bytes of KV cache per token and GPU; a head is not split but repeated."""
    return kv_bytes(shape) / min(tensor, shape.kv_heads)


def _profile_bytes(shape: ModelShape, layout: Layout, work: Workload) -> float:
    """Return the peak of vLLM's profile run: a full batch through a block, logits in fp32."""
    tokens = max(const.ENGINE_BATCH_TOKENS, 1)
    block = tokens * HALF * (4 * shape.hidden + 3 * shape.intermediate / layout.tensor_parallel)
    sequences = min(const.MOST_GRAPH_SEQUENCES, math.ceil(work.rollouts / layout.engines))
    # Logits, their fp32 copy and the sampler's probabilities.
    return max(block, sequences * shape.vocab * (HALF + 2 * FULL))


def room_gib(gpu_gib: float) -> float:
    """Return the memory of a GPU that can be planned with, GiB."""
    return gpu_gib * (1 - const.HEADROOM)


def memory_refusals(
    shape: ModelShape,
    layout: Layout,
    work: Workload,
    gpu_gib: float,
    offload: bool = False,
) -> list[str]:
    """Return why a layout does not fit GPUs of `gpu_gib` GiB; empty when it does.

    An unknown shape fits.
    """
    if not shape.layers:
        return []
    found = []
    if layout.engines:
        found += _engine_refusals(shape, layout, work, gpu_gib)
    trainer = trainer_memory(shape, layout, work, offload)
    left = room_gib(gpu_gib)
    where = f"there are {left:.0f} to plan with"
    if layout.colocated:
        left -= takes_gib(shape, layout, work, gpu_gib)
        where = f"beside the engine there are {left:.0f}"
    if trainer.gib > left:
        found.append(
            f"the trainer needs {trainer.gib:.0f} GiB of each GPU ({trainer.words()}), {where}"
        )
    return found


def _engine_refusals(
    shape: ModelShape, layout: Layout, work: Workload, gpu_gib: float
) -> list[str]:
    found = []
    part = share(shape, layout, work, gpu_gib)
    total, beside = part * gpu_gib, _beside_share(shape, layout, work)
    engine = engine_memory(shape, layout, work)
    if engine.gib > total:
        found.append(
            f"an engine needs {engine.gib:.0f} GiB of each GPU ({engine.words()}), "
            f"its share of {part:g} is {total:.0f}"
        )
    if total + beside > gpu_gib:
        found.append(
            f"an engine's share of {part:g} is {total:.0f} GiB, and beside it "
            f"{beside:.1f} GiB are needed for weights that arrive, of "
            f"{gpu_gib:.0f}; leave hardware.gpu_memory_utilization=auto"
        )
    return found
