"""What kinds of GPUs can do: memory, arithmetic and links, and which kind a name means.

Data and look-up only; what a model makes of it is in memory.py and time.py.
"""

import re
from dataclasses import dataclass, replace

from rlagent.base.names import did_you_mean
from rlagent.machine.resources import Machine


@dataclass(frozen=True)
class GPUKind:
    """One kind of GPU.

    Args:
        name: As `hardware.gpu` says it.
        memory_gib: All its memory as NVML reports it, GiB; less than the name says.
        flops: Dense bf16 operations per second of the tensor cores, at the data sheet's clock.
        memory_bandwidth: Bytes per second of its memory.
        link: Bytes per second to another GPU of the node, one direction.
    """

    name: str
    memory_gib: float
    flops: float
    memory_bandwidth: float
    link: float


# FLOP/s, bandwidth and links: NVIDIA's data sheets. NVLink's total there counts both directions
# and is halved here; GPUs without NVLink have PCIe 4 x16, 32 GB/s each way. Dense FLOP/s are half
# of the sheets' figures 'with sparsity'. Memory: MiB in nvidia-smi, ECC on where the card has it.
_KINDS = (
    # H100 SXM5: 989 TFLOP/s, 3.35 TB/s, NVLink 900 GB/s; 81559 MiB.
    GPUKind("h100-80g", 79.6, 989e12, 3.35e12, 450e9),
    # H200 SXM: 989 TFLOP/s, 4.8 TB/s, NVLink 900 GB/s; 143771 MiB.
    GPUKind("h200-141g", 140.4, 989e12, 4.8e12, 450e9),
    # H20 (HGX): 148 TFLOP/s, 4.0 TB/s, NVLink 900 GB/s; 97871 MiB. NVIDIA publishes no sheet of
    # it: figures of its launch as Tom's Hardware lists them ("H20, L20, and L2", February 2024).
    GPUKind("h20-96g", 95.5, 148e12, 4.0e12, 450e9),
    # A100 SXM4 80 GB: 312 TFLOP/s, 2.039 TB/s, NVLink 600 GB/s; 81920 MiB.
    GPUKind("a100-80g", 80.0, 312e12, 2.039e12, 300e9),
    # A100 SXM4 40 GB: 312 TFLOP/s, 1.555 TB/s, NVLink 600 GB/s; 40960 MiB.
    GPUKind("a100-40g", 40.0, 312e12, 1.555e12, 300e9),
    # L40S: 362 TFLOP/s, 864 GB/s, PCIe 4; 46068 MiB.
    GPUKind("l40s-48g", 45.0, 362e12, 864e9, 32e9),
    # A10G (AWS G5): 70 TFLOP/s, 600 GB/s, PCIe 4; 23028 MiB.
    GPUKind("a10g-24g", 22.5, 70e12, 600e9, 32e9),
    # GeForce RTX 4090 (Ada whitepaper): 165 TFLOP/s with fp32 sums, 1008 GB/s, PCIe 4; 24564 MiB.
    GPUKind("rtx4090-24g", 24.0, 165e12, 1008e9, 32e9),
    # B200 SXM (HGX): 2.25 PFLOP/s, 8 TB/s, NVLink 1.8 TB/s; 183359 MiB.
    GPUKind("b200-192g", 179.0, 2250e12, 8e12, 900e9),
)
KINDS = {kind.name: kind for kind in _KINDS}
ASSUMED = KINDS["h100-80g"]
"""What is planned for on a machine without a GPU when `hardware.gpu` says nothing, and whose
speed is assumed for a GPU known by its memory only."""

# A size stands by itself: the 10g of an A10G is none.
_SIZE = re.compile(r"(?<![a-z0-9])(\d+)\s*g(?:i?b)?\b")


@dataclass(frozen=True)
class Found:
    """What a name was taken for.

    Args:
        kind: The kind of GPU.
        assumed: What about it was assumed, a sentence; empty when all is known.
    """

    kind: GPUKind
    assumed: str = ""


def named_size(text: str) -> float | None:
    """Return the memory that a name states, such as 80 for h100-80g; None when it states none."""
    size = _SIZE.search(text.lower())
    return float(size.group(1)) if size else None


def find_gpu(text: str, machine: Machine) -> Found:
    """Return the kind of GPU that a name means.

    Args:
        text: `hardware.gpu`: `auto`, a name of this table, NVML's name of a GPU, or any name
            that ends in a size, such as mygpu-80g.
        machine: What there is; of a GPU that is there, its own memory counts.

    Raises:
        ValueError: When nothing is known by that name; says what is.
    """
    names = [gpu.name for gpu in machine.gpus]
    if text == "auto" and not names:
        return Found(ASSUMED, f"no GPU is here to look at: {ASSUMED.name} is assumed")
    if text == "auto" or text in names:
        here = text if text in names else sorted(names)[0]
        # The smallest one counts when a machine has several kinds.
        memory = min(gpu.memory_gib for gpu in machine.gpus)
        found = _of_family(here, memory) or _of_memory(here, memory)
        return Found(replace(found.kind, memory_gib=memory), found.assumed)
    wanted = text.strip().lower()
    if wanted in KINDS:
        return Found(KINDS[wanted])
    size = named_size(wanted)
    found_one = _of_family(wanted, size)
    if found_one is not None:
        return found_one
    if size:
        return _of_memory(text, size)
    raise ValueError(f"is no GPU that is known here; there are {', '.join(KINDS)}")


def nearest(text: str) -> str:
    """Return the remedy for a name that is not known."""
    family = [name for name in KINDS if _family(name) in text.lower()]
    otherwise = "a name that ends in its memory, such as mygpu-80g, is taken too"
    if family:
        return f"say which: {' or '.join(family)}"
    return did_you_mean(text.lower(), list(KINDS), otherwise)


def _family(name: str) -> str:
    return name.split("-")[0].removeprefix("rtx")


def _of_family(text: str, size: float | None) -> Found | None:
    """Return the kind whose family a name mentions; None when there is none or not only one."""
    words = re.findall(r"[a-z0-9]+", text.lower().replace("rtx", " "))
    kinds = [kind for kind in _KINDS if _family(kind.name) in words]
    if not kinds or (size is None and len(kinds) > 1):
        return None
    if size is None:
        return Found(kinds[0])
    kind = min(kinds, key=lambda item: abs(item.memory_gib - size))
    if abs(kind.memory_gib - size) <= 0.1 * size:
        return Found(kind)
    speed = f"{text}: its memory is as its name says, its speed is taken from {kind.name}"
    return Found(replace(kind, name=text, memory_gib=size), speed)


def _of_memory(text: str, size: float) -> Found:
    """Return a GPU known by its memory only."""
    assumed = f"{text} is not known here: the speed of {ASSUMED.name} is assumed"
    return Found(replace(ASSUMED, name=text, memory_gib=size), assumed)
