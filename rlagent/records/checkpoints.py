"""A run's checkpoints: where they are, which are whole, and what a person means by a name.

A trainer, verl's too, writes a folder global_step_N and then notes N in a file beside it. What the
files hold is the trainers'.
"""

import json
import re
import shutil
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rlagent.records.folder import RunFolder
from rlagent.records.progress import Evaluation, evaluation

LATEST_CHECKPOINT = "latest_checkpointed_iteration.txt"
"""File in the folder of checkpoints in which trainers note the step of the newest."""

MANIFEST = "manifest.json"
"""Names every file of a checkpoint of the embedded trainer, with its size and checksum."""

FULL_FLAG = ".full_checkpoint"
"""In a folder that is more than weights; Trinity's synchronizer deletes older ones without it."""

WEIGHTS = "actor/model.safetensors"
OPTIMIZER = "actor/optimizer.safetensors"
STATE = "trainer_state.json"
"""Files of a checkpoint of the embedded trainer."""

ADAPTER = "actor/lora_adapter/adapter_model.safetensors"
ADAPTER_CONFIG = "actor/lora_adapter/adapter_config.json"
"""With LoRA either trainer keeps the adapter there, in peft's form; the embedded one in the place
of WEIGHTS."""

_SHARD = re.compile(r"model_world_size_(\d+)_rank_\d+\.pt")

BASE, BEST, LAST = "base", "best", "last"
"""Names beside step numbers: the model before training, the step with the best held-out success,
and the newest."""


class CheckpointError(Exception):
    """No usable checkpoint answers to a name; the message says which there are."""


@dataclass(frozen=True)
class Kept:
    """A checkpoint that is kept, or the base model.

    Args:
        step: Training steps done; 0: the base model.
        folder: Its folder; None: the base model, which is not of the run.
    """

    step: int
    folder: Path | None

    def __str__(self) -> str:
        return f"step {self.step}" if self.folder else "the base model"


def kept_checkpoints(run: RunFolder) -> list[Kept]:
    """The base model, then every checkpoint of a run, oldest first; none is read.

    One that its trainer is still writing is none yet.
    """
    root = run.checkpoints
    return [Kept(0, None), *(Kept(step, step_folder(root, step)) for step in _written(run))]


def find_checkpoint(run: RunFolder, name: str) -> Kept:
    """The checkpoint that a person means.

    Args:
        run: Finished or not; nothing in it is changed.
        name: `base`, `best`, `last` or the number of a step.

    Raises:
        CheckpointError: There is none of that name, or it is damaged; the message says which
            there are.
    """
    number = int(name) if re.fullmatch(r"[0-9]{1,18}", name) else None
    if name == BASE or number == 0:
        return Kept(0, None)
    steps = _written(run)
    if name == LAST:
        wanted = steps[-1] if steps else None
    elif name == BEST:
        wanted = best_step(run, steps)
    else:
        wanted = number if number in steps else None
    if wanted is None:
        raise CheckpointError(f"{run.name} has no checkpoint {name!r}: {_there(run, steps)}")
    until = [kept for kept in kept_checkpoints(run) if kept.step <= wanted]
    fault = damage_of(until[-1])
    if fault is not None:
        before = next(kept for kept in reversed(until[:-1]) if damage_of(kept) is None)
        raise CheckpointError(
            f"the checkpoint of step {wanted} of {run.name} is damaged ({fault}); the one before "
            f"that is whole is {before.step or BASE}"
        )
    return until[-1]


def best_step(run: RunFolder, steps: Sequence[int]) -> int | None:
    """Which of some steps had the best held-out success, of equals the last; None where none of
    them was measured."""
    found = [(one.success, one.weights) for one in measured(run) if one.weights in steps]
    return max(found)[1] if found else None


def prune(run: RunFolder, keep: int) -> None:
    """Remove checkpoints, but for the `keep` newest and the one with the best held-out success.

    Checkpoints newer than the one that the trainer has noted are left from before a resume, which
    found them damaged. They are neither counted nor removed: training reaches their steps again.
    """
    noted = noted_step(run.checkpoints)
    steps = [step for step in _written(run) if noted is None or step <= noted]
    best = best_step(run, steps)
    for step in steps[:-keep]:
        if step != best:
            shutil.rmtree(step_folder(run.checkpoints, step))


def measured(run: RunFolder) -> list[Evaluation]:
    """What was measured on held-out tasks, the last of each step's weights, by step."""
    rows = run.read_metrics("explorer")
    found = {one.weights: one for row in rows if (one := evaluation(row)) is not None}
    return [found[step] for step in sorted(found)]


def _written(run: RunFolder) -> list[int]:
    """Steps of checkpoints whose trainer has written all of them."""
    root = run.checkpoints
    noted = noted_step(root)
    return [
        step
        for step in full_steps(root)
        if noted is None or step <= noted or (step_folder(root, step) / MANIFEST).exists()
    ]


def _there(run: RunFolder, steps: Sequence[int]) -> str:
    if not steps:
        return "it has kept none yet, only `base`, the model before training"
    best = best_step(run, steps)
    names = [BASE, *map(str, steps), f"`last` ({steps[-1]})"]
    names.append(f"`best` ({best})" if best else "`best` once a kept step was evaluated")
    return "there are " + ", ".join(names)


def step_folder(root: Path, step: int) -> Path:
    """Folder of the checkpoint of a step."""
    return root / f"global_step_{step}"


def full_steps(root: Path) -> list[int]:
    """Steps of full checkpoints (not of mere weights), oldest first."""
    steps = []
    for path in root.glob("global_step_*"):
        match = re.fullmatch(r"global_step_(\d+)", path.name)
        if match and ((path / FULL_FLAG).exists() or (path / MANIFEST).exists()):
            steps.append(int(match.group(1)))
    return sorted(steps)


def noted_step(root: Path) -> int | None:
    """The step that the note names; 0 without a note, None when it holds no step number."""
    try:
        return int((root / LATEST_CHECKPOINT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return 0
    except ValueError:
        return None


def damage_of(kept: Kept) -> str | None:
    """What is wrong with a checkpoint; None if all that was written can be read again."""
    if kept.folder is None:
        return None
    shards = shards_of(kept.folder)
    if not shards:
        return fault_of(kept.folder)
    for path in shards:
        name = path.relative_to(kept.folder)
        if not path.is_file():
            return f"{name} is missing"
        try:
            with zipfile.ZipFile(path) as file:
                broken = file.testzip()
        except zipfile.BadZipFile:
            broken = path.name
        if broken is not None:
            return f"{name} is damaged"
    return None


def shards_of(folder: Path) -> list[Path]:
    """The files of weights of verl's FSDP by rank, those that are missing too; empty where the
    checkpoint is not verl's."""
    sizes = [_SHARD.fullmatch(path.name) for path in (folder / "actor").glob("model_world_size_*")]
    ranks = max((int(size[1]) for size in sizes if size), default=0)
    return [folder / f"actor/model_world_size_{ranks}_rank_{rank}.pt" for rank in range(ranks)]


def weights_of(folder: Path) -> list[Path]:
    """The files that hold the weights of a checkpoint: an adapter's, verl's shards, or one."""
    if (folder / ADAPTER).is_file():
        return [folder / ADAPTER, folder / ADAPTER_CONFIG]
    return shards_of(folder) or [folder / WEIGHTS]


def fault_of(folder: Path) -> str | None:
    """What is wrong with a checkpoint folder of the embedded trainer, or None if it agrees with
    its manifest."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        files = {name: (each["bytes"], each["crc32"]) for name, each in manifest["files"].items()}
    except FileNotFoundError:
        return f"no {MANIFEST}"
    except (ValueError, KeyError, AttributeError, TypeError):
        return f"{MANIFEST} is damaged"
    weights = (ADAPTER, ADAPTER_CONFIG) if ADAPTER in files else (WEIGHTS,)
    for name in (*weights, OPTIMIZER, STATE):
        if name not in files:
            return f"{MANIFEST} does not name {name}"
    for name, (size, checksum) in files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes instead of {size}"
        if checksum_of(path) != checksum:
            return f"{name} is damaged"
    return None


def checksum_of(path: Path) -> int:
    """The CRC-32 of a file."""
    value = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            value = zlib.crc32(block, value)
    return value
