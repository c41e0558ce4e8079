"""verl's worker with what rlagent puts into its process: log-probabilities, attention, allocator.

One such process per trainer GPU; model, optimizer, sharding and checkpoints are verl's.
"""

import importlib
import os
from collections import ChainMap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import torch
from peft import get_peft_model_state_dict
from safetensors.torch import save_file
from tensordict import TensorDict
from torch.distributed.tensor import DTensor
from trinity.manager.synchronizer import Synchronizer
from trinity.trainer.verl.workers import TrinityActorRolloutRefWorker
from verl.single_controller.base.decorator import (
    Dispatch,
    make_nd_compute_dataproto_dispatch_fn,
    register,
)
from verl.utils import tensordict_utils as tu
from verl.utils.device import set_expandable_segments

from rlagent.backends import shared_weights
from rlagent.backends.shared_weights import Place
from rlagent.backends.verl import logits, packed
from rlagent.backends.verl.adapter_files import written_whole
from rlagent.machine import flash_attention
from rlagent.machine.resources import detect
from rlagent.records.checkpoints import ADAPTER
from rlagent.upstream import verl

_ALLOCATOR = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
"""Who sets one of these says how torch's allocator works."""


def host_threads() -> int:
    """Threads for what a trainer computes on the host: its part of the cores of its node.

    Ray lets an actor have as many as the CPUs that it reserved, which is one: with it, gradients
    are added up and Adam steps at a tenth of what the host's memory can do.
    """
    ranks = int(os.environ.get("RAY_LOCAL_WORLD_SIZE", 1))
    return max(1, detect().cores // ranks)


@contextmanager
def held_rate(engine: Any, data: TensorDict) -> Iterator[None]:
    """Hold the learning rate in an update after which the step goes on: `moves_rate` is false.

    verl moves it with every update; a schedule counts steps.
    """
    moves = tu.pop(data, key="moves_rate", default=True)
    if not moves:
        # In the place of the method.
        engine.lr_scheduler_step = lambda: engine.lr_scheduler.get_last_lr()[0]
    try:
        yield
    finally:
        if not moves:
            del engine.lr_scheduler_step


class StepWorker(TrinityActorRolloutRefWorker):
    """Trinity's worker of actor and reference model."""

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def init_model(self) -> None:
        """Load the models."""
        self._shared: torch.Tensor | None = None
        self._expands = not any(os.environ.get(name) for name in _ALLOCATOR)
        if self._expands:
            # Every micro-batch has its own number of tokens, and verl begins with the smaller
            # ones: without it each larger one takes new blocks for its logits, and those before
            # are kept though nothing fits into them.
            set_expandable_segments(True)
        if flash_attention.flash_attention_version() is None:
            verl.torch_padding.apply()
        packed.register()
        super().init_model()
        if self.actor is not None and self.actor.engine.engine_config.offload_policy:
            torch.set_num_threads(host_threads())
        for model in (self.actor, self.ref):
            if model is not None:
                # verl's override of it would be exported with the model, and mean nothing there.
                vars(model.engine.module.config).pop("attn_implementation", None)

    @register(dispatch_mode=make_nd_compute_dataproto_dispatch_fn(mesh_name="actor"))
    def update_actor(self, data: TensorDict) -> TensorDict:
        """One update of the weights."""
        with held_rate(self.actor.engine, data):
            return super().update_actor(data)

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def sync_weight_nccl(self) -> None:
        """Send the weights to the engines.

        vLLM packs them on two streams that are others each time, and torch keeps freed memory for
        the stream that it was taken for.
        """
        torch.cuda.empty_cache()
        super().sync_weight_nccl()
        torch.cuda.empty_cache()

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def share_weights(self, global_step: int) -> None:
        """Publish a copy of the weights in the memory of each GPU, for the engine there.

        At step 0 the engines have loaded the same weights themselves.
        """
        if global_step == 0:
            return
        places = [Place(*meta) for meta in self._state_dict_meta_list]
        self._shared = self._own_memory(sum(place.size for place in places))
        weights, _ = self.actor.engine.get_per_tensor_param()
        shared_weights.pack(weights, places, self._shared)
        torch.cuda.synchronize()
        handles: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(handles, shared_weights.handle(self._shared))
        if self.rank == 0:
            offered = shared_weights.offer(places, dict(ChainMap(*handles)))
            synchronizer = Synchronizer.get_actor(namespace=self._ray_namespace)
            ray.get(synchronizer.set_model_state_dict.remote(offered, global_step))
        torch.distributed.barrier()

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def withdraw_weights(self) -> None:
        """Free the published copy of the weights."""
        if self._shared is not None:
            self._shared = None
            torch.cuda.ipc_collect()
            torch.cuda.empty_cache()

    def _own_memory(self, size: int) -> torch.Tensor:
        """Allocate bytes outside expandable segments, which no other process can open."""
        if self._expands:
            set_expandable_segments(False)
        try:
            return torch.empty(size, dtype=torch.uint8, device="cuda")
        finally:
            if self._expands:
                set_expandable_segments(True)

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def save_state_dict(self, local_path: str, global_step: int = 0) -> None:
        """Write the weights for the engines; with LoRA the adapter alone, where Trinity's worker
        writes the base beside it each time."""
        if not self.config.model.get("lora_rank", 0):
            super().save_state_dict(local_path, global_step=global_step)
            return
        self._save_lora(local_path)
        if self.rank == 0:
            # Says that it is there.
            self._get_coordinator().save_sync(lambda: None, global_step, is_state_dict=True)

    def _save_lora(self, local_path: str) -> None:
        """Write the adapter in peft's form.

        Trinity's way asks verl for it layer by layer, which finds nothing in FSDP2's modules.
        """
        model = getattr(self.actor.engine.module, "_fsdp_wrapped_module", self.actor.engine.module)
        if not hasattr(model, "peft_config"):
            return
        weights = {
            name: (weight.full_tensor() if isinstance(weight, DTensor) else weight).cpu()
            for name, weight in get_peft_model_state_dict(model).items()
        }
        if self.rank == 0:
            file = Path(local_path).parent / ADAPTER
            with written_whole(file.parent) as folder:
                model.peft_config["default"].save_pretrained(str(folder))
                save_file(weights, folder / file.name)
        torch.distributed.barrier()

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def set_loss_fn(self, loss_fn: Any) -> None:
        """Take the loss over; what it needs of the logits logits.py computes."""
        super().set_loss_fn(loss_fn)
        models = [model for model in (self.actor, self.ref) if model is not None]
        logits.use_in_verl(loss_fn.entropy_gradient, *(model.engine for model in models))

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def import_weight_transfer(self) -> None:
        """Import what sends the weights to vLLM, in the process that does."""
        if self.rank == 0:
            importlib.import_module("vllm.distributed.weight_transfer.nccl_engine")
