"""Changes to Trinity: what it makes for itself and offers no other way to replace.

Imports that are left out are in trinity_imports.py, methods that our subclasses replace in
trinity_hooks.py.
"""

import contextlib
import json
import struct
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from rlagent.upstream.patch import Relies, patch
from rlagent.upstream.trinity_imports import LIBRARY, SOURCE, VERSIONS

if TYPE_CHECKING:
    from torch import Tensor


def save(tensors: "dict[str, Tensor]", metadata: dict[str, str] | None = None) -> bytes:
    """What safetensors.torch.save returns, for many small tensors on the CPU.

    Kinds of numbers that numpy lacks, and metadata, are left to safetensors.
    """
    import torch
    from safetensors.torch import save as safetensors_save

    names = {
        torch.bool: "BOOL",
        torch.uint8: "U8",
        torch.int32: "I32",
        torch.int64: "I64",
        torch.float32: "F32",
        torch.float64: "F64",
    }
    if metadata or not all(t.dtype in names and t.is_contiguous() for t in tensors.values()):
        return safetensors_save(tensors, metadata)
    header: dict[str, Any] = {}
    parts = []
    end = 0
    # The format wants the widest numbers first, so that each is aligned.
    for name, tensor in sorted(tensors.items(), key=lambda item: -item[1].element_size()):
        data = tensor.numpy().tobytes()
        header[name] = {
            "dtype": names[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [end, end + len(data)],
        }
        end += len(data)
        parts.append(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *parts])


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/common/experience.py#L395",
    "safetensors writes small tensors in a few us each (60 us today, through ctypes and numpy)",
    [
        Relies("trinity.common.experience:st_save"),
        Relies("trinity.common.experience:Experience.serialize_many", None, "st_save(tensor_data)"),
    ],
)
def fast_payloads() -> None:
    """Write Trinity's experiences as bytes, in Trinity's own format, faster.

    safetensors spends some 60 us on each tensor: of a step of small experiences that is a fifth
    of what its agents cost.
    """
    from trinity.common import experience

    experience.st_save = save


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/explorer/explorer.py#L45",
    "Trinity's explorer makes no synchronizer where nothing is trained",
    [
        Relies(
            "trinity.explorer.explorer:Explorer.__init__",
            "self, config",
            "self.synchronizer = Synchronizer.get_actor(config)",
        ),
    ],
)
@contextlib.contextmanager
def synchronizer(made: bool) -> Iterator[None]:
    """Within the block, Trinity's explorer makes a synchronizer, or has None in its place.

    The synchronizer hands weights from a trainer to engines; its process imports for seconds.
    """
    from trinity.explorer import explorer

    theirs = explorer.Synchronizer
    if not made:
        explorer.Synchronizer = SimpleNamespace(get_actor=lambda config: None)
    try:
        yield
    finally:
        explorer.Synchronizer = theirs


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/trainer/trainer.py#L401",
    "`trainer.trainer_type` takes the dotted path of a class",
    [
        Relies("trinity.trainer.trainer:get_trainer_wrapper", "config"),
        Relies("trinity.trainer.trainer:Trainer.__init__", "self, config", "get_trainer_wrapper("),
    ],
)
@contextlib.contextmanager
def train_engine(engine: type | None) -> Iterator[None]:
    """Within the block, Trinity's trainer gets its engine of this class.

    The factory knows no further trainer type, and its caller is the trainer's constructor.

    Args:
        engine: Made with Trinity's Config; None: Trinity's own.
    """
    from trinity.trainer import trainer

    theirs = trainer.get_trainer_wrapper
    trainer.get_trainer_wrapper = engine or theirs
    try:
        yield
    finally:
        trainer.get_trainer_wrapper = theirs


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/trainer/verl/trainer.py#L260",
    "VERLTrainer names its worker's class in an attribute",
    [
        Relies("trinity.trainer.verl.trainer:TrinityActorRolloutRefWorker"),
        Relies(
            "trinity.trainer.verl.trainer:VERLTrainer.__init__",
            "self, global_config",
            "ray.remote(TrinityActorRolloutRefWorker)",
        ),
        # Its subclass writes adapters by peft.
        Relies(
            "trinity.trainer.verl.workers:TrinityActorRolloutRefWorker._save_lora",
            "self, local_path",
        ),
    ],
)
@contextlib.contextmanager
def verl_worker(worker: type) -> Iterator[None]:
    """Within the block, Trinity's verl trainer makes its workers of this class.

    The constructor names Trinity's own.
    """
    from trinity.trainer.verl import trainer

    theirs = trainer.TrinityActorRolloutRefWorker
    trainer.TrinityActorRolloutRefWorker = worker
    try:
        yield
    finally:
        trainer.TrinityActorRolloutRefWorker = theirs


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/buffer/reader/queue_reader.py#L13",
    "Trinity's QueueReader takes a batch that is not full, and knows the end",
    [
        Relies("trinity.buffer.reader:READER"),
        Relies("trinity.buffer.buffer:get_buffer_reader", None, "READER.get("),
        Relies(
            "trinity.utils.registry:Registry.register_module",
            "self, module_name, module_cls, force, lazy",
        ),
    ],
)
def queue_reader(reader: type) -> None:
    """Have every sample strategy of this process read from a queue with this class.

    Trinity's own raises unless it gets exactly as many experiences as it asks for.
    """
    from trinity.buffer.reader import READER

    READER.register_module("queue", reader, force=True)


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/common/config_validator.py#L1835",
    "a trainer type of one's own brings its validator, or `check_and_update` takes those to run",
    [
        Relies("trinity.common.config_validator:validators"),
        Relies("trinity.common.config:Config.check_and_update", "self", "import validators"),
        Relies("trinity.common.config_validator:TrainerConfigValidator"),
        Relies("trinity.common.config_validator:GPUMemoryValidator"),
    ],
)
@contextlib.contextmanager
def validators_without(*names: str) -> Iterator[None]:
    """Within the block, Trinity's configuration is checked without the validators of these names.

    Those that know Trinity's own trainers alone would refuse another one.
    """
    from trinity.common import config_validator

    theirs = config_validator.validators
    left_out = tuple(getattr(config_validator, name) for name in names)
    config_validator.validators = [each for each in theirs if not isinstance(each, left_out)]
    try:
        yield
    finally:
        config_validator.validators = theirs


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/trainer/trainer.py#L43",
    "a native configuration that names W&B may only be refused",
    [
        Relies("trinity.utils.monitor:MONITOR"),
        Relies("trinity.explorer.explorer:Explorer.__init__", "self, config", "MONITOR.get("),
        Relies("trinity.trainer.trainer:Trainer.__init__", "self, config", "MONITOR.get("),
    ],
)
def monitor(kind: str, cls: type) -> None:
    """Have this class stand in for the monitor of that name in this process.

    A native configuration may name W&B: the driver mirrors to it, once for all roles.
    """
    from trinity.utils.monitor import MONITOR

    MONITOR.register_module(kind, cls, force=True)
