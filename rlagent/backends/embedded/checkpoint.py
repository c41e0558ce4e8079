"""Checkpoints that are whole or not there, and the files through which weights are handed over.

A checkpoint is a folder global_step_N with a manifest naming every file, its size and checksum.
It is written under another name, then renamed; only after that `latest_checkpointed_iteration.txt`
is replaced. Reading takes the newest folder that agrees with its manifest. Plain files and
tensors only: it knows nothing of models, optimizers or Trinity.
"""

import json
import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple

import torch
from safetensors.torch import load_file
from trinity.utils.stream_saver import save_safetensors_streaming

from rlagent.records.checkpoints import (
    ADAPTER,
    ADAPTER_CONFIG,
    FULL_FLAG,
    LATEST_CHECKPOINT,
    MANIFEST,
    OPTIMIZER,
    STATE,
    WEIGHTS,
    checksum_of,
    fault_of,
    full_steps,
    step_folder,
)

LATEST_WEIGHTS = "latest_state_dict_iteration.txt"
EXPORT = "actor/huggingface"


@dataclass(frozen=True)
class Checkpoint:
    """What a training run needs to go on as if it had not stopped.

    Attributes:
        step: Training steps done.
        weights: By parameter name; with LoRA the adapter's, by peft's.
        optimizer: Tensors by a name of the trainer's choice.
        state: Small values, JSON.
        adapter: With LoRA, what peft's adapter_config.json holds.
    """

    step: int
    weights: Mapping[str, torch.Tensor]
    optimizer: Mapping[str, torch.Tensor]
    state: Mapping[str, Any]
    adapter: Optional[Mapping[str, Any]] = None


def write_checkpoint(
    root: Path,
    checkpoint: Checkpoint,
    keep: int = 0,
    export: Optional[Callable[[Path], None]] = None,
) -> Path:
    """Write a checkpoint, make it the latest one and remove old ones.

    Args:
        root: Folder of the run's checkpoints.
        checkpoint: What to write.
        keep: Checkpoints to keep, this one included; 0: all.
        export: Writes further files into the folder it is given (a Hugging Face model).

    Returns:
        The checkpoint's folder. If it was complete already, only a missing export is added.

    Raises:
        OSError: If it cannot be written; what was there before is then as it was.
    """
    folder = step_folder(root, checkpoint.step)
    if not (folder / MANIFEST).exists() or fault_of(folder) is not None:
        with _scratch_folder(root, folder.name) as scratch:
            weights = WEIGHTS if checkpoint.adapter is None else ADAPTER
            (scratch / weights).parent.mkdir(parents=True)
            _write_tensors(scratch / weights, checkpoint.weights)
            if checkpoint.adapter is not None:
                _write_text(scratch / ADAPTER_CONFIG, json.dumps(checkpoint.adapter, indent=2))
            _write_tensors(scratch / OPTIMIZER, checkpoint.optimizer)
            _write_text(scratch / STATE, json.dumps({**checkpoint.state, "step": checkpoint.step}))
            _write_text(scratch / FULL_FLAG, "")
            _write_text(scratch / MANIFEST, json.dumps(_manifest(scratch, checkpoint.step)))
            _publish(scratch, folder)
    if export is not None and not (folder / EXPORT).exists():
        with _scratch_folder(root, f"{folder.name}-huggingface") as scratch:
            export(scratch)
            _sync_files(scratch)
            os.rename(scratch, folder / EXPORT)
    _write_text(root / LATEST_CHECKPOINT, str(checkpoint.step))
    # On disk before what it replaces is gone, also when the power fails.
    _sync_folder(root)
    if keep > 0:
        for old in [s for s in full_steps(root) if s <= checkpoint.step][:-keep]:
            shutil.rmtree(step_folder(root, old))
    return folder


def read_latest(root: Path, warn: Callable[[str], None]) -> Optional[Checkpoint]:
    """The newest usable checkpoint, or None if there is none.

    Afterwards the two files that name the latest step name one that exists.

    Args:
        root: Folder of the run's checkpoints; need not exist.
        warn: Called with one line per checkpoint that is not usable.

    Raises:
        RuntimeError: If there are checkpoints, but not one is usable.
    """
    steps = full_steps(root)
    for step in reversed(steps):
        folder = step_folder(root, step)
        fault = fault_of(folder)
        if fault is not None:
            warn(f"checkpoint {folder} is not usable ({fault}); trying the one before")
            continue
        state = json.loads((folder / STATE).read_text())
        has_adapter = (folder / ADAPTER).exists()
        checkpoint = Checkpoint(
            step,
            load_file(folder / (ADAPTER if has_adapter else WEIGHTS)),
            load_file(folder / OPTIMIZER),
            state,
            json.loads((folder / ADAPTER_CONFIG).read_text()) if has_adapter else None,
        )
        _write_text(root / LATEST_CHECKPOINT, str(step))
        if (root / LATEST_WEIGHTS).exists():
            _write_text(root / LATEST_WEIGHTS, str(step))
        return checkpoint
    if steps:
        raise RuntimeError(
            f"no checkpoint in {root} is usable (steps {', '.join(map(str, steps))}); "
            "start from scratch with run.fresh=true"
        )
    return None


def write_weights(root: Path, step: int, weights: Mapping[str, torch.Tensor]) -> Path:
    """Hand weights over through files (sync_method `checkpoint`): weights first, then their step.

    Raises:
        OSError: If they cannot be written.
    """
    folder = step_folder(root, step)
    if not (folder / WEIGHTS).exists():
        (folder / "actor").mkdir(parents=True, exist_ok=True)
        scratch = folder / "actor" / f".model.{os.getpid()}.safetensors"
        try:
            _write_tensors(scratch, weights)
            os.replace(scratch, folder / WEIGHTS)
        finally:
            scratch.unlink(missing_ok=True)
    announce_weights(root, step)
    return folder


def announce_weights(root: Path, step: int) -> None:
    """Say that the weights of a step can be read from its folder."""
    _write_text(root / LATEST_WEIGHTS, str(step))


def _publish(scratch: Path, folder: Path) -> None:
    """Give a finished folder its name.

    A folder of mere weights may be there already and be read at this moment: then the files move
    into it one by one, each at once, the manifest last.
    """
    if not folder.exists():
        os.rename(scratch, folder)
        _sync_folder(folder.parent)
        return
    (folder / MANIFEST).unlink(missing_ok=True)
    names = [p.relative_to(scratch) for p in sorted(scratch.rglob("*")) if p.is_file()]
    for name in sorted(names, key=lambda n: n.name == MANIFEST):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(scratch / name, folder / name)
    _sync_folder(folder)


@contextmanager
def _scratch_folder(root: Path, name: str) -> Iterator[Path]:
    """A folder on the same disk, removed afterwards unless it was renamed."""
    root.mkdir(parents=True, exist_ok=True)
    # Left over where a process was killed while it wrote.
    for leftover in root.glob(f".{name}.*"):
        shutil.rmtree(leftover)
    scratch = root / f".{name}.{os.getpid()}"
    scratch.mkdir()
    try:
        yield scratch
    finally:
        if scratch.exists():
            shutil.rmtree(scratch)


def _write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    meta: List[Tuple[str, torch.dtype, Any]] = [
        (name, tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()
    ]
    save_safetensors_streaming(tensors.items(), str(path), meta)
    _sync_file(path)


def _write_text(path: Path, text: str) -> None:
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        scratch.write_text(text)
        _sync_file(scratch)
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def _manifest(folder: Path, step: int) -> Dict[str, Any]:
    files = {
        str(path.relative_to(folder)): {"bytes": path.stat().st_size, "crc32": checksum_of(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    return {"step": step, "files": files}


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sync_files(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            _sync_file(path)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
