"""The memory of the GPUs, and the share of it that other processes leave free."""

import os

from rlagent.machine.resources import GPU, visible

LARGEST_SHARE = 0.9
"""Share of a GPU's memory that an engine takes at most; CUDA needs some beside it."""
LEFT_FREE = 0.03
"""Share of a GPU's memory that stays free for other processes, whose use changes meanwhile."""


def free_share(gpus: int) -> float:
    """Share of each GPU's memory that an engine on the first `gpus` of them can take.

    Returns:
        In (0, 1): by the GPU with the least free memory.
    """
    least = min(free / total for _, free, total in gpu_memory()[:gpus])
    return round(min(LARGEST_SHARE, max(least - LEFT_FREE, 0.01)), 3)


def gpu_memory() -> list[tuple[str, int, int]]:
    """Name, free and total bytes of each GPU that CUDA_VISIBLE_DEVICES leaves, in its order."""
    import pynvml

    pynvml.nvmlInit()
    try:
        found, uuids = [], []
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            name = pynvml.nvmlDeviceGetName(handle)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            text = name.decode() if isinstance(name, bytes) else str(name)
            uuids.append(str(pynvml.nvmlDeviceGetUUID(handle)))
            found.append((text, int(memory.free), int(memory.total)))
    finally:
        pynvml.nvmlShutdown()
    # Each stands for its place in `found`.
    places = [(uuid, GPU(str(place), 0.0)) for place, uuid in enumerate(uuids)]
    chosen = visible(places, os.environ.get("CUDA_VISIBLE_DEVICES"))
    return [found[int(gpu.name)] for gpu in chosen]
