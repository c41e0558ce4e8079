"""Every layout of a resolved configuration, weighed; what fits, the one to take first."""

from rlagent.config.check import requested_parts
from rlagent.config.resolve import Resolved
from rlagent.config.schema import AUTO
from rlagent.config.workload import workload_of
from rlagent.layout.candidates import Candidate, Setting, candidates
from rlagent.layout.choose import ranked
from rlagent.layout.gpus import find_gpu


def weighed(resolved: Resolved) -> list[Candidate]:
    """Return every layout of the GPUs: those that fit, best first, then those refused.

    Empty for the embedded engine, whose processes share the CPU.
    """
    hardware = resolved.config.hardware
    if hardware.engine == "embedded":
        return []
    parts = requested_parts(resolved.composed)
    if hardware.attention != "flash_attention_2":
        # That GPUs share a sequence is flash-attn's doing in verl.
        parts.setdefault("sequence_parallel", 1)
    asked = resolved.composed.hardware.offload
    setting = Setting(
        int(hardware.gpus),
        int(hardware.nodes),
        resolved.config.model.shape,
        find_gpu(hardware.gpu, resolved.machine).kind,
        workload_of(resolved.config),
        [False, True] if asked == AUTO else [bool(asked)],
    )
    found = candidates(setting, parts)
    first = ranked(found, setting.work.max_model_len)
    return first + [item for item in found if item.reasons]
