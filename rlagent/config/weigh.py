"""The layouts of a resolved configuration, weighed: all of them, or the one that is taken."""

from rlagent.backends.registry import engine_named
from rlagent.config.check import requested_parts
from rlagent.config.resolve import Resolved
from rlagent.config.schema import AUTO
from rlagent.config.step_workload import workload_of
from rlagent.planner.candidates import Candidate, Setting, candidates, weigh
from rlagent.planner.choose import ranked
from rlagent.planner.gpus import find_gpu


def weighed(resolved: Resolved) -> list[Candidate]:
    """Return every layout of the GPUs: those that fit, best first, then those refused.

    Empty without GPUs: processes share the CPU.
    """
    hardware = resolved.config.hardware
    if not engine_named(hardware.engine).on_gpus:
        return []
    parts = requested_parts(resolved.composed)
    if hardware.attention != "flash_attention_2":
        # That GPUs share a sequence is flash-attn's doing in verl.
        parts.setdefault("sequence_parallel", 1)
    asked = resolved.composed.hardware.offload
    setting = _setting(resolved, [False, True] if asked == AUTO else [bool(asked)])
    found = candidates(setting, parts)
    first = ranked(found, setting.work.max_model_len)
    return first + [item for item in found if item.reasons]


def weighed_taken(resolved: Resolved) -> Candidate | None:
    """Return the resolved layout, weighed.

    None where `estimate.planned_step` has no estimate either.
    """
    hardware = resolved.config.hardware
    native = bool(getattr(resolved.composed, "native", None))
    known = resolved.config.model.shape.layers and not native
    if not known or not engine_named(hardware.engine).on_gpus:
        return None
    return weigh(resolved.layout, _setting(resolved, [bool(hardware.offload)]))


def _setting(resolved: Resolved, offloads: list[bool]) -> Setting:
    hardware = resolved.config.hardware
    return Setting(
        int(hardware.gpus),
        int(hardware.nodes),
        resolved.config.model.shape,
        find_gpu(hardware.gpu, resolved.machine).kind,
        workload_of(resolved.config),
        offloads,
        alone=not resolved.layout.engines,
    )
