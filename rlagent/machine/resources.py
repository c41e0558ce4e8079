"""What the machine has: GPUs through NVML, cores and memory through the kernel. Never torch."""

import ctypes
import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path

from rlagent.machine.flash_attention import flash_attention_version
from rlagent.machine.ray_head import cluster_is_running

_GIB = 1024**3

PLANNED_FOR = "RLAGENT_MACHINE"
"""Variable that holds the machine that a sweep planned its trials for: by themselves they would
find their share of the GPUs only, and could choose differently."""

THREADS = "RLAGENT_THREADS"
"""Variable that holds hardware.threads for a run's actors."""


@dataclass(frozen=True)
class GPU:
    """One GPU.

    Args:
        name: As NVML names it.
        memory_gib: All its memory, GiB.
    """

    name: str
    memory_gib: float


@dataclass(frozen=True)
class Machine:
    """What can be used here.

    Args:
        gpus: GPUs of this node that are visible.
        cores: CPU cores that this process may use.
        memory_gib: Memory that this process may use, GiB.
        nodes: Nodes of the Ray cluster that would be joined; 1 when none is known.
        cluster: Whether there is a Ray cluster that `hardware.ray=auto` would join.
        flash_attention: Version of the flash-attn that is installed; None: none is. A machine
            that is only planned for is taken to have it.
    """

    gpus: tuple[GPU, ...]
    cores: int
    memory_gib: float
    nodes: int = 1
    cluster: bool = False
    flash_attention: str | None = "2"

    def words(self) -> str:
        """Return the machine in a few words."""
        cores = f"{self.cores} CPU core{'' if self.cores == 1 else 's'}"
        if not self.gpus:
            return f"no GPU, {cores}, {self.memory_gib:.0f} GiB"
        gpu = self.gpus[0]
        return f"{len(self.gpus)} x {gpu.name} ({gpu.memory_gib:.0f} GiB), {cores}"


def detect() -> Machine:
    """Look at this machine; takes milliseconds and allocates nothing on a GPU."""
    planned = os.environ.get(PLANNED_FOR)
    if planned:
        return read_machine(planned)
    return Machine(
        gpus=_gpus(),
        cores=_cores(),
        memory_gib=_memory_gib(),
        cluster=cluster_is_running(),
        flash_attention=flash_attention_version(),
    )


def write_machine(machine: Machine) -> str:
    """Return a machine as the text that `PLANNED_FOR` holds."""
    return json.dumps(dataclasses.asdict(machine))


def read_machine(text: str) -> Machine:
    """Return the machine that `write_machine` wrote."""
    data = json.loads(text)
    return Machine(**{**data, "gpus": tuple(GPU(**gpu) for gpu in data["gpus"])})


def _gpus() -> tuple[GPU, ...]:
    try:
        # NVML comes with the driver: without it there is nothing to ask.
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return ()
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        # The library without a driver behind it, as in some containers.
        return ()
    try:
        found = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            name = pynvml.nvmlDeviceGetName(handle)
            text = name.decode() if isinstance(name, bytes) else name
            found.append(
                (
                    pynvml.nvmlDeviceGetUUID(handle),
                    GPU(text, pynvml.nvmlDeviceGetMemoryInfo(handle).total / _GIB),
                )
            )
    finally:
        pynvml.nvmlShutdown()
    return visible(found, os.environ.get("CUDA_VISIBLE_DEVICES"))


def visible(found: list[tuple[str, GPU]], setting: str | None) -> tuple[GPU, ...]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES leaves, each once, in its order.

    Args:
        found: UUID and GPU, in NVML's order.
        setting: The variable's value: indices or UUIDs; as CUDA does, what follows an invalid
            entry is ignored. None leaves all.
    """
    if setting is None:
        return tuple(gpu for _, gpu in found)
    chosen: dict[int, GPU] = {}
    for entry in (part.strip() for part in setting.split(",")):
        index = None
        if entry.isdecimal():
            index = int(entry)
        elif entry:
            matches = [i for i, (uuid, _) in enumerate(found) if str(uuid).startswith(entry)]
            index = matches[0] if matches else None
        if index is None or index >= len(found):
            break
        chosen[index] = found[index][1]
    return tuple(chosen.values())


def threads() -> int:
    """Return the threads to compute with: RLAGENT_THREADS, else a core each that may be used.

    Never what torch uses at the moment: whoever computed in this process before has set it, and
    the same training split over other threads adds up in another order.
    """
    return int(os.environ.get(THREADS) or 0) or detect().cores


def cache_bytes() -> int:
    """Return the memory for an engine's cache: an eighth of what may be used, 4 GiB at most."""
    return int(min(detect().memory_gib / 8, 4) * _GIB)


def _cores() -> int:
    """Return the cores of the affinity mask, cut by the cgroup's quota."""
    cores = len(os.sched_getaffinity(0))
    quota = _cgroup_cores()
    return max(1, min(cores, quota)) if quota else cores


def _cgroup_cores() -> int | None:
    text = _read("/sys/fs/cgroup/cpu.max")
    if text:
        quota, period = text.split()[:2]
    else:
        quota = _read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") or "max"
        period = _read("/sys/fs/cgroup/cpu/cpu.cfs_period_us") or "100000"
    if quota == "max" or int(quota) <= 0:
        return None
    return max(1, int(quota) // int(period))


def _memory_gib() -> float:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = _read(path)
        if text and text.isdecimal():
            total = min(total, int(text))
    return total / _GIB


def _read(path: str) -> str | None:
    file = Path(path)
    return file.read_text(encoding="ascii").strip() if file.is_file() else None
