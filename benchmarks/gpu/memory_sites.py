"""Which lines of code hold a GPU's memory at the moment when most of it is in use."""

from collections import Counter
from collections.abc import Callable
from typing import Any

ENTRIES = 400_000
SHOWN = 15
_OURS = ("rlagent/", "trinity/", "verl/", "transformers/models", "fsdp/_fully_shard", "optim/")


def largest_sites(call: Callable[[], Any]) -> dict[str, Any]:
    """What a call had allocated at its peak, by site, the largest first.

    Args:
        call: What to watch; memory that was in use before is not part of it.

    Returns:
        `above_gib`: the peak above what was in use before; `freed_gib`: what of the latter
        had been freed by then; `sites`: GiB and number of allocations by site.
    """
    import torch

    torch.cuda.synchronize()
    torch.cuda.memory._record_memory_history(max_entries=ENTRIES, context="alloc", stacks="python")
    try:
        call()
        torch.cuda.synchronize()
        snapshot = torch.cuda.memory._snapshot()
    finally:
        torch.cuda.memory._record_memory_history(enabled=None)
    traces = snapshot["device_traces"][torch.cuda.current_device()]
    return at_the_peak(traces) | {"entries": len(traces)}


def at_the_peak(traces: list[dict[str, Any]]) -> dict[str, Any]:
    """The same from torch's list of allocations and frees."""
    gib = 1024**3
    total = most = 0
    place = 0
    for index, event in enumerate(traces):
        if event["action"] == "alloc":
            total += event["size"]
        elif event["action"] == "free_completed":
            total -= event["size"]
        if total > most:
            most, place = total, index
    live: dict[int, dict[str, Any]] = {}
    freed = 0
    for event in traces[: place + 1]:
        if event["action"] == "alloc":
            live[event["addr"]] = event
        elif event["action"] == "free_completed" and live.pop(event["addr"], None) is None:
            freed += event["size"]
    sizes: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for event in live.values():
        site = site_of(event)
        sizes[site] += event["size"]
        counts[site] += 1
    return {
        "above_gib": round(most / gib, 3),
        "freed_gib": round(freed / gib, 3),
        "sites": [
            [site, round(size / gib, 3), counts[site]] for site, size in sizes.most_common(SHOWN)
        ],
    }


def site_of(event: dict[str, Any]) -> str:
    """Where an allocation was asked for, in words; by its size where no Python asked."""
    frames = [
        frame
        for frame in event.get("frames", [])
        if any(part in frame["filename"] for part in _OURS)
    ]
    if not frames:
        return f"autograd, {event['size'] / 2**20:.0f} MiB each"
    return " < ".join(
        f"{'/'.join(frame['filename'].split('/')[-2:])}:{frame['line']} {frame['name']}"
        for frame in frames[:2]
    )
