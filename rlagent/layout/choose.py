"""Which layout to take for a number of GPUs and a model.

A first ranking by memory and balance; it knows nothing about measured speed.
"""

from collections.abc import Mapping, Sequence

from rlagent.config.machine import Machine
from rlagent.config.schema import ModelShape
from rlagent.layout.fit import fits
from rlagent.layout.gpus import find_gpu, named_size
from rlagent.layout.layout import Layout, refusals
from rlagent.layout.workload import Workload

_LONG_SEQUENCE = 16384
"""From this length on two trainer GPUs share a sequence, as in AgentScope's example."""


def gpu_memory_gib(gpu: str, machine: Machine) -> float:
    """Return the memory of one GPU in GiB, as its name says it.

    Args:
        gpu: A name with its size, such as h100-80g, or the name of one that is there.
        machine: The machine; its smallest GPU counts when the name carries no size.
    """
    return named_size(gpu) or find_gpu(gpu, machine).kind.memory_gib


def legal_layouts(gpus_per_node: int, nodes: int, shape: ModelShape | None) -> list[Layout]:
    """Return every legal layout that uses all GPUs, in no particular order."""
    total = gpus_per_node * nodes
    if total == 1:
        return [Layout(1, 1, 1, colocated=True)]
    found = []
    for tensor in _powers_of_two(gpus_per_node):
        for engines in range(1, total // tensor + 1):
            trainer = total - engines * tensor
            for sequence in _powers_of_two(trainer):
                layout = Layout(engines, tensor, trainer, sequence)
                if not refusals(layout, gpus_per_node, nodes, shape):
                    found.append(layout)
    return found


def best_layout(
    gpus_per_node: int,
    nodes: int,
    shape: ModelShape,
    gpu_gib: float | None,
    max_model_len: int,
    offloads: Sequence[bool] = (False,),
    parts: Mapping[str, int] | None = None,
    work: Workload | None = None,
) -> Layout | None:
    """Return the first choice among the legal layouts that fit, None when none does.

    Preferred, in this order: no offloading, half of the GPUs for the trainer, small tensor
    parallelism, and two GPUs per sequence for long sequences, else one.

    Args:
        gpus_per_node: GPUs of one node.
        nodes: Nodes.
        shape: The model's shape.
        gpu_gib: Memory of one GPU; None leaves memory out.
        max_model_len: Longest sequence in tokens.
        offloads: Whether the trainer keeps its state in host memory, in the order to try.
        parts: Fields of the layout that are given, such as engines.
        work: What a step asks for; None: a usual one of that length.
    """
    work = work or Workload(max_model_len)
    total = gpus_per_node * nodes
    if total < 1:
        return None
    sequence = 2 if max_model_len >= _LONG_SEQUENCE else 1

    def rank(layout: Layout) -> tuple[float, ...]:
        return (
            abs(layout.trainer_gpus - total / 2),
            layout.tensor_parallel,
            abs(layout.sequence_parallel - sequence),
            layout.sequence_parallel,
        )

    given = (parts or {}).items()
    legal = legal_layouts(gpus_per_node, nodes, shape)
    matching = [item for item in legal if all(getattr(item, k) == v for k, v in given)]
    ranked = sorted(matching, key=rank)
    for offload in offloads:
        for layout in ranked:
            if gpu_gib is None or fits(shape, layout, gpu_gib, work, offload):
                return layout
    return None


def _powers_of_two(most: int) -> list[int]:
    return [2**power for power in range(most.bit_length()) if 2**power <= most]
