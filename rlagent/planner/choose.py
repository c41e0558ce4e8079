"""Which layout to take for a number of GPUs, a model and what a step asks for."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rlagent.base.model_shape import ModelShape
from rlagent.planner.candidates import Candidate, Setting, candidates, written_layouts
from rlagent.planner.constants import TELLS_APART
from rlagent.planner.gpus import ASSUMED, GPUKind
from rlagent.planner.layout import Layout, refusals
from rlagent.planner.workload import Workload

_LONG_SEQUENCE = 16384
"""From this length on two trainer GPUs share a sequence, as in AgentScope's example."""


def legal_layouts(gpus_per_node: int, nodes: int, shape: ModelShape | None) -> list[Layout]:
    """Return every legal layout that uses all GPUs, in no particular order."""
    total = gpus_per_node * nodes
    written = [item for item in written_layouts(gpus_per_node, nodes) if item.total_gpus == total]
    return [item for item in written if not refusals(item, gpus_per_node, nodes, shape)]


def ranked(found: Sequence[Candidate], max_model_len: int) -> list[Candidate]:
    """Return the candidates that fit, the one to take first.

    Those that need no offloading, then those that do; of each the fastest by the estimate, but
    those that it cannot tell apart from the fastest come first, by what is known to work: half of
    the GPUs for the trainer, small tensor parallelism, two GPUs per sequence for long sequences,
    else one.
    """
    fitting = [item for item in found if not item.reasons]
    fastest = {
        offload: min((item.step_s for item in fitting if item.offload is offload), default=0.0)
        for offload in (False, True)
    }
    sequence = 2 if max_model_len >= _LONG_SEQUENCE else 1

    def rank(item: Candidate) -> tuple[float, ...]:
        layout = item.layout
        close = item.step_s <= fastest[item.offload] * (1 + TELLS_APART)
        return (
            item.offload,
            0.0 if close else item.step_s,
            abs(layout.trainer_gpus - layout.total_gpus / 2),
            layout.tensor_parallel,
            abs(layout.sequence_parallel - sequence),
            layout.sequence_parallel,
        )

    return sorted(fitting, key=rank)


def best_layout(
    gpus_per_node: int,
    nodes: int,
    shape: ModelShape,
    gpu_gib: float | None,
    max_model_len: int,
    offloads: Sequence[bool] = (False,),
    parts: Mapping[str, int] | None = None,
    work: Workload | None = None,
    gpu: GPUKind | None = None,
    alone: bool = False,
) -> Layout | None:
    """Return the first choice among the legal layouts that fit, None when none does.

    Args:
        gpus_per_node: GPUs of one node.
        nodes: Nodes.
        shape: The model's shape.
        gpu_gib: Memory of one GPU; None leaves memory out.
        max_model_len: Longest sequence in tokens.
        offloads: Whether the trainer keeps its state in host memory, what may be tried.
        parts: Fields of the layout that are given, such as engines.
        work: What a step asks for; None: a usual one of that length.
        gpu: The kind of GPU; None: the usual one.
        alone: Whether the trainer has all GPUs.
    """
    work = work or Workload.usual(max_model_len, max_model_len)
    kind = replace(gpu or ASSUMED, memory_gib=float("inf") if gpu_gib is None else gpu_gib)
    setting = Setting(gpus_per_node, nodes, shape, kind, work, offloads, alone)
    order = ranked(candidates(setting, parts), max_model_len)
    return order[0].layout if order else None
