"""Estimated seconds of one step of a layout, by part, from shape, lengths and kind of GPU.

Rooflines: what has to be computed or moved against what a GPU can, at the efficiencies in
constants.py. Good for ranking layouts; not a promise.
"""

import math
from dataclasses import dataclass, replace

from rlagent.base.model_shape import ModelShape
from rlagent.planner import constants as const
from rlagent.planner.gpus import GPUKind
from rlagent.planner.layout import Layout
from rlagent.planner.memory import sequences_at_once
from rlagent.planner.shape import forward_flops, kv_bytes, parameters
from rlagent.planner.workload import Workload


@dataclass(frozen=True)
class StepTime:
    """Seconds of one step.

    Args:
        rollout: Prefill and decoding.
        agent: Agent code and everything around the engines.
        train: Forward and backward passes, and the optimizer.
        old_logprobs: The trainer's pass for the old log-probabilities; 0 without.
        reference: The reference model's pass; 0 without.
        sync: Weights to the engines, per step.
        step: All of it, with what overlaps.
    """

    rollout: float
    agent: float
    train: float
    old_logprobs: float
    reference: float
    sync: float
    step: float

    @property
    def explore(self) -> float:
        """Seconds of exploring."""
        return self.rollout + self.agent

    @property
    def learn(self) -> float:
        """Seconds of training."""
        return self.train + self.old_logprobs + self.reference


def step_time(
    shape: ModelShape,
    layout: Layout,
    work: Workload,
    gpu: GPUKind,
    offload: bool = False,
    gpus_per_node: int = 8,
) -> StepTime:
    """Return the estimated seconds of one step."""
    rollout = agent = sync = 0.0
    if layout.engines:
        rollout = work.explored * rollout_seconds(shape, layout, work, gpu)
        agent = work.explored * const.AGENT_SECONDS * work.rollouts
        sync = sync_seconds(shape, layout, gpu, work) / work.sync_interval
    trainer = _Trainer(shape, layout, work, gpu, offload, gpus_per_node)
    train = trainer.train()
    old = trainer.forward(offload) if work.old_logprobs else 0.0
    # With LoRA it is the base, which is there.
    reference = trainer.forward(from_host=not work.adapter) if work.reference else 0.0
    parts = StepTime(rollout, agent, train, old, reference, sync, step=0.0)
    step = overlapped(parts.explore, parts.learn, layout, work) + sync
    return replace(parts, step=step)


def overlapped(explore: float, learn: float, layout: Layout, work: Workload) -> float:
    """Return the seconds of one step when exploring and training may run at the same time.

    With a lag they always do. Without, they do between two syncs: the trainer takes the first of
    `sync_interval` steps while the explorer is at the second.
    """
    if takes_turns(layout, work):
        return explore + learn
    if work.max_lag > 0:
        return max(explore, learn)
    steps = work.sync_interval
    return (explore + (steps - 1) * max(explore, learn) + learn) / steps


def takes_turns(layout: Layout, work: Workload) -> bool:
    """Return whether exploring and training never run at the same time."""
    return layout.colocated or (work.max_lag == 0 and work.sync_interval == 1)


def step_words(time: StepTime, layout: Layout, work: Workload) -> list[str]:
    """Return how the seconds of a step come from its parts, as in `overlapped`, and the sum."""
    explore, learn, sync = (f"{part:.1f}" for part in (time.explore, time.learn, time.sync))
    longer = f"{max(time.explore, time.learn):.1f}"
    if takes_turns(layout, work):
        rule, total = "they take turns: step = exploring + training + sync", f"{explore} + {learn}"
    elif work.max_lag > 0:
        rule, total = "they overlap: step = the longer of the two + sync", longer
    else:
        others, steps = work.sync_interval - 1, work.sync_interval
        rule = (
            f"they overlap within the {steps} steps from sync to sync: "
            f"step = (exploring + {others} x the longer + training) / {steps} + sync"
        )
        total = f"({explore} + {others} x {longer} + {learn}) / {steps}"
    return [
        f"exploring is rollout + agent, training is train + old lp + ref; {rule}",
        f"{layout}: {total} + {sync} = {time.step:.1f} s",
    ]


def rollout_seconds(shape: ModelShape, layout: Layout, work: Workload, gpu: GPUKind) -> float:
    """Return the seconds that the engines need for the rollouts of a step."""
    tensor = layout.tensor_parallel
    mine = math.ceil(work.rollouts / layout.engines)
    held = sequences_at_once(shape, layout, work, gpu.memory_gib)
    at_once = max(1.0, min(mine, held))
    tokens = work.calls * work.response_tokens
    decoding = mine / at_once * tokens * _decode_step(shape, layout, work, gpu, at_once)
    # The longest rollouts go on when the others have ended.
    last = max(1.0, 0.1 * at_once)
    tail = (const.LONGEST_ROLLOUT - 1) * tokens * _decode_step(shape, layout, work, gpu, last)
    prompts = mine * work.calls * work.prompt_tokens
    if work.prefix_caching:
        prompts *= 1 - const.CACHED_PROMPT
    flops = prompts * forward_flops(shape, work.prompt_tokens / 2)
    return decoding + tail + flops / (tensor * gpu.flops * const.PREFILL_FLOPS)


def _decode_step(
    shape: ModelShape, layout: Layout, work: Workload, gpu: GPUKind, sequences: float
) -> float:
    """Return the seconds of one decoding step of an engine: the slower of memory and sums."""
    tensor = layout.tensor_parallel
    cache = sequences * work.usual_tokens * kv_bytes(shape) / min(tensor, shape.kv_heads)
    moved = 2 * parameters(shape) / tensor + cache
    memory = moved / (gpu.memory_bandwidth * const.DECODE_BANDWIDTH)
    flops = sequences * forward_flops(shape, work.usual_tokens)
    compute = flops / (tensor * gpu.flops * const.PREFILL_FLOPS)
    own = const.DECODE_SECONDS if work.graphs else const.DECODE_SECONDS_EAGER
    if tensor > 1:
        message = sequences * shape.hidden * 2 / (gpu.link * const.LINK_SHARE)
        own += const.TENSOR_PARALLEL_SECONDS
        own += 2 * shape.layers * (const.ALL_REDUCE_SECONDS + message)
    return max(memory, compute) + own


@dataclass(frozen=True)
class _Trainer:
    shape: ModelShape
    layout: Layout
    work: Workload
    gpu: GPUKind
    offload: bool
    gpus_per_node: int

    @property
    def tokens(self) -> float:
        """Tokens of a step on one GPU."""
        return self.work.experiences * self.work.usual_tokens / self.layout.trainer_gpus

    @property
    def micro_batches(self) -> int:
        """Micro-batches of a step."""
        return max(1, math.ceil(self.tokens / self.work.micro_batch(self.shape.vocab)))

    @property
    def shard_bytes(self) -> float:
        """One GPU's part of the fp32 weights, of a base in bf16, bytes."""
        each = const.BASE_BYTES if self.work.adapter else const.WEIGHT_BYTES
        return each * parameters(self.shape) / self.layout.trainer_gpus

    def train(self) -> float:
        """Return the seconds of forward and backward passes and the optimizer's step."""
        # Twice the bf16 weights, once the fp32 gradients; from the host twice the fp32 shards.
        host = 2 if self.offload else 0
        if self.work.adapter:
            return self._passes(const.ADAPTER_PASSES, 2 * 2, host=0) + const.TRAIN_STEP_SECONDS
        passes = self._passes(const.TRAINING_PASSES, gathered=2 * 2 + 4, host=host)
        if self.offload:
            passes += self.micro_batches * self.shard_bytes / const.HOST_SUM
        optimizer = const.ADAM_BYTES * self.shard_bytes / const.WEIGHT_BYTES
        speed = const.HOST_MEMORY if self.offload else self.gpu.memory_bandwidth
        return passes + optimizer / speed + const.TRAIN_STEP_SECONDS

    def forward(self, from_host: bool) -> float:
        """Return the seconds of a pass without gradients, with weights that wait in host memory."""
        return self._passes(1, gathered=2, host=int(from_host))

    def _passes(self, forwards: int, gathered: int, host: int) -> float:
        shape, layout = self.shape, self.layout
        mfu = const.MOST_MFU * shape.hidden / (shape.hidden + const.HALF_MFU_WIDTH)
        flops = forwards * self.tokens * forward_flops(shape, self.work.usual_tokens / 2)
        compute = flops / (self.gpu.flops * mfu) + self._shared_sequences(forwards)
        others = (layout.trainer_gpus - 1) / layout.trainer_gpus
        moved = gathered * parameters(shape) * others / self._link
        moved += host * self.shard_bytes / const.HOST_LINK
        launches = self.micro_batches * forwards * shape.layers * const.BLOCK_SECONDS
        # FSDP2 brings the next block while this one is computed.
        return max(compute, self.micro_batches * moved) + launches

    def _shared_sequences(self, forwards: int) -> float:
        """Return the seconds in which GPUs exchange heads for parts of a sequence (Ulysses)."""
        shape, sequence = self.shape, self.layout.sequence_parallel
        heads = 2 * shape.heads + 2 * max(shape.kv_heads, sequence)
        each = self.tokens * heads * shape.head_dim * 2 * (sequence - 1) / sequence
        return forwards * shape.layers * each / (self.gpu.link * const.LINK_SHARE)

    @property
    def _link(self) -> float:
        spans = self.layout.trainer_gpus > self.gpus_per_node
        return (const.NODE_LINK if spans else self.gpu.link) * const.LINK_SHARE


def sync_seconds(shape: ModelShape, layout: Layout, gpu: GPUKind, work: Workload) -> float:
    """Return the seconds of one weight sync."""
    if work.adapter:
        return const.FILE_SYNC_SECONDS
    weights = 2 * parameters(shape)
    if layout.colocated:
        # Without a lag the engine reads them where they are.
        return const.SYNC_SECONDS + (weights / const.MEMORY_SYNC if work.max_lag else 0)
    return const.SYNC_SECONDS + weights / (gpu.link * const.LINK_SHARE)
