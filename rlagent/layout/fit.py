"""Whether a model fits a layout; how much each role needs is memory.py's."""

from rlagent.config.schema import ModelShape
from rlagent.layout.layout import Layout
from rlagent.layout.memory import memory_refusals
from rlagent.layout.shape import parameters
from rlagent.layout.workload import Workload

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
