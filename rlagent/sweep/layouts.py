"""Which layouts `+sweep=layouts` tries, and in which order; what is legal is rlagent.layout's."""

from rlagent.config.check import requested_parts
from rlagent.config.resolve import Resolved
from rlagent.config.workload import workload_of
from rlagent.layout.choose import legal_layouts
from rlagent.layout.fit import fits
from rlagent.layout.gpus import find_gpu
from rlagent.layout.layout import Layout


def layouts_to_try(resolved: Resolved) -> list[Layout]:
    """Return every legal layout of the hardware whose memory suffices, the resolved one first.

    Args:
        resolved: Resolved with hardware.layout=auto, so that its layout is the planner's choice.
    """
    config = resolved.config
    hardware, shape = config.hardware, config.model.shape
    logical = hardware.logical_gpus
    gpus, nodes = (logical, 1) if logical else (int(hardware.gpus), int(hardware.nodes))
    if gpus == 0:
        return [resolved.layout]
    parts = requested_parts(resolved.composed)
    found = []
    for layout in legal_layouts(gpus, nodes, shape):
        matching = all(getattr(layout, key) == value for key, value in parts.items())
        if matching and (logical or _fits(resolved, layout)):
            found.append(layout)
    # The planner's first choice is tried first, then what is most like it.
    chosen = resolved.layout
    return sorted(
        found,
        key=lambda layout: (
            abs(layout.trainer_gpus - chosen.trainer_gpus),
            layout.tensor_parallel,
            abs(layout.sequence_parallel - chosen.sequence_parallel),
        ),
    )


def _fits(resolved: Resolved, layout: Layout) -> bool:
    config = resolved.config
    memory = find_gpu(config.hardware.gpu, resolved.machine).kind.memory_gib
    work = workload_of(config)
    shape = config.model.shape
    return any(fits(shape, layout, memory, work, offload) for offload in (False, True))
