"""What the machine has left for a run: GPU memory, Ray, shared memory, disk."""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from rlagent.backends.registry import engine_named
from rlagent.base.words import short_path
from rlagent.config.schema import HardwareConfig
from rlagent.health.row import FAIL, OK, WARN, Row, run_python
from rlagent.machine.gpu_memory import gpu_memory
from rlagent.machine.ray_head import address_to_join
from rlagent.machine.resources import Machine

if TYPE_CHECKING:
    from rlagent.config.resolve import Resolved

GIB = 1024**3
RAY_TIMEOUT = 180.0
"""Seconds: a Ray that is started has two tries of 60 to be up, see ray_cluster.py."""


def gpu_rows(machine: Machine, resolved: "Resolved | None") -> list[Row]:
    """A row per GPU with its free memory, compared to what the run takes of it."""
    if not machine.gpus:
        return [Row(OK, "GPU", "none found through NVML; the embedded engine runs on the CPU")]
    share = 0.0
    if resolved and engine_named(resolved.config.hardware.engine).on_gpus:
        share = float(resolved.config.hardware.gpu_memory_utilization)
    rows = []
    for index, (name, free, total) in enumerate(gpu_memory()):
        text = f"{name}, {free / GIB:.0f} of {total / GIB:.0f} GiB free"
        label = f"GPU {index}"
        if free >= share * total:
            rows.append(Row(OK, label, text))
            continue
        wanted = f"{share * total / GIB:.0f} GiB free"
        remedy = (
            "end what uses it (nvidia-smi shows the processes), choose others with "
            "CUDA_VISIBLE_DEVICES, or lower hardware.gpu_memory_utilization"
        )
        rows.append(Row(FAIL, label, text, wanted, remedy))
    return rows


def ray_row(hardware: HardwareConfig) -> Row:
    """Join the Ray that the run would join, or start and end one as the run would."""
    address = address_to_join(hardware.ray)
    how = f"joins {address}" if address else "starts its own on 127.0.0.1"
    code = (
        "import logging, sys\n"
        "logging.disable(logging.CRITICAL)\n"
        "import ray\n"
        "from rlagent.config.schema import HardwareConfig\n"
        "from rlagent.launch.ray_cluster import connect\n"
        f"connect(HardwareConfig(ray={hardware.ray!r}), 'rlagent-doctor', {{}}, 0, 2)\n"
        "found = ray.cluster_resources()\n"
        "print(f\"{found.get('CPU', 0):.0f} CPUs, {found.get('GPU', 0):.0f} GPUs\")\n"
        "ray.shutdown()\n"
    )
    answer = run_python(code, RAY_TIMEOUT)
    if answer.ok:
        # The CPUs of a Ray of one's own are the doctor's choice and say nothing.
        return Row(OK, "Ray", f"{how}: {answer.text}" if address else f"{how}: works")
    remedy = "see the reason above; `ray stop --force` removes what an earlier Ray left behind"
    if address:
        remedy = (
            f"check that the cluster at {address} runs the same Python and Ray versions, or take "
            "hardware.ray=start for a Ray of this run's own"
        )
    return Row(FAIL, "Ray", f"{how}: {answer.error}", remedy=remedy)


def shared_memory_row(path: str = "/dev/shm") -> Row:
    """Ray keeps weights and experiences in shared memory; containers often get only 64 MiB."""
    if not os.path.isdir(path):
        return Row(WARN, "shared memory", f"no {path}; Ray uses the disk, which is slower")
    usage = shutil.disk_usage(path)
    text = f"{usage.free / GIB:.2f} of {usage.total / GIB:.2f} GiB free in {path}"
    remedy = "start the container with --shm-size=2g (or --ipc=host)"
    if usage.free < 0.1 * GIB:
        text += "; Ray uses the temporary folder, which is slower"
    if usage.free < GIB:
        return Row(WARN, "shared memory", text, "1 GiB", remedy)
    return Row(OK, "shared memory", text, "1 GiB")


def disk_row(folder: str, need_bytes: float) -> Row:
    """Whether run folders can be written and checkpoints fit."""
    place = Path(folder).absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    text = f"{free / GIB:.1f} GiB free in {short_path(place) or '.'}"
    wanted = f"{max(need_bytes / GIB, 0.1):.1f} GiB"
    if not os.access(place, os.W_OK):
        return Row(
            FAIL, "disk", f"{place} cannot be written", wanted, "choose another place: run.dir=PATH"
        )
    if free < need_bytes:
        return Row(
            FAIL, "disk", text, wanted, "free some space, or choose another place: run.dir=PATH"
        )
    return Row(OK, "disk", text, wanted)


def checkpoint_bytes(resolved: "Resolved") -> float:
    """Bytes that the kept checkpoints and one being written take.

    Per parameter: 4 bytes of weights and 8 of Adam's two moments, in 32 bits.
    """
    from rlagent.planner.fit import parameters

    kept = resolved.config.algorithm.keep_checkpoints
    number = (kept if kept else 10) + 1
    return 12.0 * parameters(resolved.config.model.shape) * number + 0.2 * GIB
