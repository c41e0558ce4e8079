"""Which layouts `+sweep=layouts` tries, in which order, and what each is expected to take.

What is legal and how fast it should be is rlagent.layout's.
"""

from rlagent.config.check import requested_parts
from rlagent.config.estimate import planned_step
from rlagent.config.resolve import Resolved
from rlagent.config.weigh import weighed
from rlagent.layout.choose import legal_layouts
from rlagent.layout.layout import Layout


def layouts_to_try(resolved: Resolved) -> list[Layout]:
    """Return every legal layout of the hardware whose memory suffices, the resolved one first.

    On GPUs in the order of the planner's estimate; logical ones have none, and what is most
    like the planner's choice comes first.

    Args:
        resolved: Resolved with hardware.layout=auto, so that its layout is the planner's choice.
    """
    hardware = resolved.config.hardware
    if hardware.engine != "embedded":
        fitting = [item.layout for item in weighed(resolved) if not item.reasons]
        return sorted(fitting, key=lambda layout: layout != resolved.layout)
    if not hardware.logical_gpus:
        return [resolved.layout]
    parts = requested_parts(resolved.composed)
    legal = legal_layouts(hardware.logical_gpus, 1, resolved.config.model.shape)
    matching = [item for item in legal if all(getattr(item, k) == v for k, v in parts.items())]
    chosen = resolved.layout
    return sorted(
        matching,
        key=lambda layout: (
            abs(layout.trainer_gpus - chosen.trainer_gpus),
            layout.tensor_parallel,
            abs(layout.sequence_parallel - chosen.sequence_parallel),
        ),
    )


def estimated_step_s(resolved: Resolved) -> float | None:
    """Return the planner's estimate of one step of a trial, s; None where it has none."""
    time = planned_step(resolved.config, resolved.layout, resolved.machine)
    return round(time.step, 3) if time else None
