"""A trainer packs its weights into GPU memory; an engine on that GPU reads them there (CUDA IPC).

Trinity's way for the two on one GPU, where NCCL cannot join them, goes through host memory and
Ray's objects, tensor by tensor.
"""

import math
import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Tensors = Iterable[tuple[str, Tensor]]

_APART = 16
"""Bytes at whose multiples parameters begin: torch views only aligned numbers."""


@dataclass(frozen=True)
class Place:
    """Where a parameter lies in a buffer of bytes.

    Args:
        name: As in a checkpoint.
        dtype: torch's name of it, such as bfloat16.
        shape: Of the parameter.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def own(self) -> int:
        """Bytes of the parameter."""
        return torch.Size(self.shape).numel() * getattr(torch, self.dtype).itemsize

    @property
    def size(self) -> int:
        """Bytes up to the next place."""
        return math.ceil(self.own / _APART) * _APART


def pack(weights: Tensors, places: Sequence[Place], buffer: Tensor) -> None:
    """Copy the weights into a buffer of bytes.

    Raises:
        ValueError: The weights are not those of `places`, in their order.
    """
    for (name, weight), (place, part) in zip(weights, _parts(places, buffer), strict=True):
        if (name, weight.shape) != (place.name, part.shape):
            raise ValueError(f"{name}, {tuple(weight.shape)}, in the place of {place}")
        part.copy_(weight)


def unpack(places: Sequence[Place], buffer: Tensor) -> list[tuple[str, Tensor]]:
    """The weights in a buffer of bytes: views of it, not copies."""
    return [(place.name, part) for place, part in _parts(places, buffer)]


def _parts(places: Sequence[Place], buffer: Tensor) -> Iterator[tuple[Place, Tensor]]:
    parts = buffer.split([place.size for place in places])
    for place, part in zip(places, parts, strict=True):
        yield place, part[: place.own].view(getattr(torch, place.dtype)).view(place.shape)


def offer(places: Sequence[Place], handles: dict[str, Any]) -> bytes:
    """What a trainer publishes.

    Args:
        places: Of the buffer of each of its GPUs.
        handles: By the GPU's UUID, what torch opens that buffer by in another process.
    """
    return pickle.dumps((list(places), handles))


def handle(buffer: Tensor) -> dict[str, Any]:
    """Return what opens a buffer on a GPU, by the GPU's UUID."""
    from torch.multiprocessing.reductions import reduce_tensor

    return {_uuid(buffer.get_device()): reduce_tensor(buffer)[1]}


def taken(offered: bytes, device: int) -> list[tuple[str, Tensor]]:
    """The weights that were offered: views of the trainer's memory, not copies.

    Args:
        offered: By a trainer of this run.
        device: The GPU's number in this process.

    Raises:
        ValueError: The trainer has nothing on this GPU.
    """
    from torch.multiprocessing.reductions import rebuild_cuda_tensor

    places, handles = pickle.loads(offered)
    uuid = _uuid(device)
    if uuid not in handles:
        raise ValueError(f"the trainer offers weights on the GPUs {sorted(handles)}, not on {uuid}")
    arguments = list(handles[uuid])
    # The device has another number there.
    arguments[6] = device
    return unpack(places, rebuild_cuda_tensor(*arguments))


def _uuid(device: int) -> str:
    return str(torch.cuda.get_device_properties(device).uuid)
