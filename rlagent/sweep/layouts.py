"""Which layouts `+sweep=layouts` tries, in which order, and what each is expected to take.

What is legal and how fast it should be is rlagent.planner's.
"""

from rlagent.backends.registry import engine_named
from rlagent.config.check import requested_parts
from rlagent.config.estimate import planned_step, rough_step_seconds
from rlagent.config.resolve import Resolved
from rlagent.config.weigh import weighed
from rlagent.planner.choose import legal_layouts
from rlagent.planner.layout import Layout


def layouts_to_try(resolved: Resolved) -> list[Layout]:
    """Return every legal layout of the hardware whose memory suffices, the resolved one first.

    It is what a run without a sweep takes, which the others are to be compared with. They follow
    by the planner's estimate; for logical GPUs there is none, and what is most like the planner's
    choice comes first.

    Args:
        resolved: Resolved with hardware.layout=auto, so that its layout is the planner's choice.
    """
    hardware = resolved.config.hardware
    if engine_named(hardware.engine).on_gpus:
        fitting = [item for item in weighed(resolved) if not item.reasons]
        fitting.sort(key=lambda item: (item.layout != resolved.layout, item.step_s))
        return [item.layout for item in fitting]
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
    """Return the estimate of one step of a trial, s; None of a model whose shape is not known.

    The planner's; on a CPU, logical GPUs or not, a rougher one that knows of no layout.
    """
    config = resolved.config
    time = planned_step(config, resolved.layout, resolved.machine)
    if time:
        return round(time.step, 3)
    if not config.model.shape.layers:
        return None
    return round(rough_step_seconds(config, resolved.layout, resolved.machine.cores), 3)
