"""Every layout of a number of GPUs: what it would need and take, or why it cannot be.

Which one to take is choose.py's.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rlagent.base.model_shape import ModelShape
from rlagent.planner.gpus import GPUKind
from rlagent.planner.layout import Layout, refusals
from rlagent.planner.memory import (
    RoleMemory,
    engine_memory,
    memory_refusals,
    sequences_at_once,
    takes_gib,
    trainer_memory,
)
from rlagent.planner.time import StepTime, step_time
from rlagent.planner.workload import Workload


@dataclass(frozen=True)
class Setting:
    """What layouts are weighed for.

    Args:
        gpus_per_node: GPUs of one node.
        nodes: Nodes.
        shape: The model's shape.
        gpu: The kind of GPU; infinite memory leaves memory out.
        work: What a step asks for.
        offloads: Whether the trainer's state may wait in host memory, what may be tried.
        alone: Whether the trainer has all GPUs.
    """

    gpus_per_node: int
    nodes: int
    shape: ModelShape
    gpu: GPUKind
    work: Workload
    offloads: Sequence[bool] = (False, True)
    alone: bool = False


@dataclass(frozen=True)
class Candidate:
    """One layout, weighed.

    Args:
        layout: The layout.
        offload: Whether the trainer's state waits in host memory.
        reasons: Why it cannot run; empty when it can.
        needs: Least memory of an engine's GPU; None when it is not legal, the shape unknown, or
            there is no engine.
        takes_gib: What vLLM takes of a GPU, GiB.
        sequences: Usual sequences that the KV cache of one engine holds.
        trainer: Memory of a trainer's GPU at its peak.
        time: Seconds of a step.
    """

    layout: Layout
    offload: bool
    reasons: tuple[str, ...]
    needs: RoleMemory | None = None
    takes_gib: float = 0.0
    sequences: float = 0.0
    trainer: RoleMemory | None = None
    time: StepTime | None = None

    @property
    def step_s(self) -> float:
        """Estimated seconds of a step; 0 when nothing is known of the model."""
        return self.time.step if self.time else 0.0


def written_layouts(gpus_per_node: int, nodes: int, alone: bool = False) -> Iterator[Layout]:
    """Yield every layout that can be written for all of the GPUs, legal or not.

    Of sequence parallelism, what divides the trainer's GPUs; of tensor parallelism, up to one
    node. `alone`: those without an engine, and only those.
    """
    total = gpus_per_node * nodes
    if alone:
        yield from (Layout(0, 1, total, s) for s in range(1, total + 1) if total % s == 0)
        return
    yield Layout(1, 1, 1, colocated=True)
    for tensor in range(1, gpus_per_node + 1):
        for engines in range(1, (total - 1) // tensor + 1):
            trainer = total - engines * tensor
            for sequence in range(1, trainer + 1):
                if trainer % sequence == 0:
                    yield Layout(engines, tensor, trainer, sequence)


def candidates(setting: Setting, parts: Mapping[str, int] | None = None) -> list[Candidate]:
    """Return every layout with these parts, weighed.

    A layout that fits without offloading is not listed with it, which is slower.

    Args:
        setting: What they are weighed for.
        parts: Fields of the layout that are given, such as engines.
    """
    given = (parts or {}).items()
    return [
        weigh(layout, setting)
        for layout in written_layouts(setting.gpus_per_node, setting.nodes, setting.alone)
        if all(getattr(layout, key) == value for key, value in given)
    ]


def weigh(layout: Layout, setting: Setting) -> Candidate:
    """Return one layout, weighed, with the first way of offloading with which it fits."""
    reasons = refusals(layout, setting.gpus_per_node, setting.nodes, setting.shape)
    total = setting.gpus_per_node * setting.nodes
    if layout.colocated and total > 1:
        reasons.append(f"colocated leaves {total - 1} of {total} GPUs idle")
    if reasons:
        return Candidate(layout, False, tuple(reasons))
    tried = [_of(layout, setting, offload) for offload in setting.offloads]
    return next((item for item in tried if not item.reasons), tried[-1])


def _of(layout: Layout, setting: Setting, offload: bool) -> Candidate:
    shape, gpu, work = setting.shape, setting.gpu, setting.work
    if not shape.layers:
        return Candidate(layout, offload, ())
    refused = tuple(memory_refusals(shape, layout, work, gpu.memory_gib, offload))
    if not layout.engines:
        trainer = trainer_memory(shape, layout, work, offload)
        time = step_time(shape, layout, work, gpu, offload, setting.gpus_per_node)
        return Candidate(layout, offload, refused, trainer=trainer, time=time)
    return Candidate(
        layout,
        offload,
        refused,
        needs=engine_memory(shape, layout, work),
        takes_gib=takes_gib(shape, layout, work, gpu.memory_gib),
        sequences=sequences_at_once(shape, layout, work, gpu.memory_gib),
        trainer=trainer_memory(shape, layout, work, offload),
        time=step_time(shape, layout, work, gpu, offload, setting.gpus_per_node),
    )
