"""Whether a model fits a layout; how much each role needs is memory.py's."""

from rlagent.base.model_shape import ModelShape
from rlagent.planner.layout import Layout
from rlagent.planner.memory import memory_refusals
from rlagent.planner.shape import parameters
from rlagent.planner.workload import Workload

__all__ = ["fits", "parameters"]


def fits(
    shape: ModelShape,
    layout: Layout,
    gpu_gib: float,
    work: Workload,
    offload: bool = False,
) -> bool:
    """Return whether the estimate fits GPUs of `gpu_gib` GiB; an unknown shape fits."""
    return not memory_refusals(shape, layout, work, gpu_gib, offload)
