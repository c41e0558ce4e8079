"""Resolving: whether the trainer's state waits in host memory, and whether it fits there."""

from rlagent.config.resolution import NO_LAYOUT, Resolution
from rlagent.config.schema import AUTO
from rlagent.config.step_workload import TOKENS_PER_GPU
from rlagent.planner.constants import HOST_BESIDE_GIB
from rlagent.planner.fit import fits
from rlagent.planner.gpus import find_gpu
from rlagent.planner.layout import Layout
from rlagent.planner.memory import host_gib


def resolve_offload(resolution: Resolution, layout: Layout) -> None:
    """Fill hardware.offload, and refuse what the host does not hold."""
    hardware, asked = resolution.config.hardware, resolution.config.hardware.offload
    if asked == AUTO:
        shape, work = resolution.config.model.shape, resolution.workload
        fitting = not resolution.on_gpus or fits(shape, layout, resolution.gpu_gib, work)
        why = "its state fits" if fitting else "its state does not fit the GPUs"
        resolution.fill("hardware.offload", not fitting, why)
    reported = {problem.key for problem in resolution.problems}
    without_layout = reported & (NO_LAYOUT | {"hardware.layout"})
    if not hardware.offload or not resolution.on_gpus or resolution.native or without_layout:
        return
    smaller = "a smaller model, or more GPUs for the trainer"
    if asked == AUTO:
        resolution.chose(
            "offload",
            "the trainer's state does not fit its GPUs and waits in host memory, and a step takes "
            "several times longer (less with larger micro-batches, where they fit: "
            f"trinity.{TOKENS_PER_GPU})",
            smaller,
        )
    lacks, there = host_lacks(resolution, layout, offload=True), resolution.machine.memory_gib
    if lacks:
        without = "hardware.offload=auto, which keeps it on the GPUs where it fits, or "
        resolution.refuse(
            "hardware.offload",
            asked,
            f"the trainer's state in host memory makes it {there + lacks:.0f} GiB in use, of "
            f"{there:.0f} that there are",
            f"take {'' if asked == AUTO else without}{smaller}",
        )


def host_lacks(resolution: Resolution, layout: Layout, offload: bool) -> float:
    """Return the GiB that a node's memory lacks for what the trainer keeps there, or 0.

    What is planned for another machine lacks nothing: its memory is not known.
    """
    hardware, machine = resolution.config.hardware, resolution.machine
    gpus = int(hardware.gpus)
    if not machine.gpus or gpus > len(machine.gpus):
        return 0.0
    here = {find_gpu(gpu.name, machine).kind.name for gpu in machine.gpus}
    # What is run and not planned runs here, whatever its GPUs are said to be.
    if resolution.plan_only and find_gpu(hardware.gpu, machine).kind.name not in here:
        return 0.0
    needs = host_gib(resolution.config.model.shape, layout, resolution.workload, offload, gpus)
    return max(0.0, needs + HOST_BESIDE_GIB - machine.memory_gib)
