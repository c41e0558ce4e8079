"""The weights in a checkpoint of verl's FSDP, put together from the shards of its ranks.

Needs no GPU and starts no process group. verl's own merger (verl.model_merger) rounds to bfloat16.
"""

from pathlib import Path

import torch
from torch import Tensor

# Makes what the shards are known to torch.load.
from torch.distributed.tensor import DTensor, Replicate, Shard

from rlagent.records.checkpoints import shards_of


def read_weights(folder: Path) -> dict[str, Tensor]:
    """See rlagent.backends.base.Trainer.weights.

    Raises:
        ValueError: The shards are of a kind that is not known here.
    """
    paths = shards_of(folder)
    if not paths:
        raise ValueError(f"{folder} holds no weights of verl (actor/model_world_size_N_rank_R.pt)")
    ranks = [torch.load(path, map_location="cpu", mmap=True, weights_only=True) for path in paths]
    return {name: _whole(name, [rank[name] for rank in ranks]) for name in ranks[0]}


def _whole(name: str, parts: list[Tensor]) -> Tensor:
    """A parameter, from the part of each rank."""
    first = parts[0]
    if not isinstance(first, DTensor):
        return first
    local = [part._local_tensor for part in parts if isinstance(part, DTensor)]
    mesh = first.device_mesh.mesh
    # With replicas (HSDP) the last axis is the sharded one, and its first row holds all of it.
    rows = mesh.reshape(-1, mesh.shape[-1])
    *others, placement = first.placements
    if len(local) != len(parts) or not all(isinstance(each, Replicate) for each in others):
        raise ValueError(f"{name} is sharded in a way that is not known: {first.placements}")
    if isinstance(placement, Replicate):
        return local[0]
    if not isinstance(placement, Shard):
        raise ValueError(f"{name} is sharded in a way that is not known: {first.placements}")
    whole = torch.cat([local[rank] for rank in rows[0].tolist()], dim=placement.dim)
    if whole.shape != first.shape:
        raise ValueError(f"the shards of {name} make {tuple(whole.shape)}, not {first.shape}")
    return whole
