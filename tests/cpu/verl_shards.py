"""Checkpoints as the ranks of verl's FSDP leave them, made on a CPU; spawned by the tests."""

import os

import torch
import torch.distributed as dist
from trained_run import TINY, trained_weights
from transformers import AutoModelForCausalLM

RANKS = 2


def save_shard(rank: int, folder: str, store: str) -> None:
    """What a rank of verl's FSDP2 leaves of the tiny model, as its checkpoint manager saves it."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=RANKS)
    model = AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32)
    model.load_state_dict(trained_weights(7), strict=False)
    mesh = init_device_mesh("cpu", (RANKS,), mesh_dim_names=("fsdp",))
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    name = f"model_world_size_{RANKS}_rank_{rank}.pt"
    torch.save(model.state_dict(), os.path.join(folder, name))
    dist.destroy_process_group()
