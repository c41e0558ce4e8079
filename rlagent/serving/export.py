"""A checkpoint as a Hugging Face folder: weights in safetensors, tokenizer, chat template, card.

Whole or not there. How a trainer keeps its weights is its own (backends); what the card says is
card.py's.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rlagent.backends.registry import load
from rlagent.base.endings import RunError
from rlagent.base.errors import ConfigError, Problem
from rlagent.base.lock import waited_for
from rlagent.config.chat_templates import template_digest, template_text
from rlagent.records.checkpoints import (
    ADAPTER,
    ADAPTER_CONFIG,
    CheckpointError,
    find_checkpoint,
    weights_of,
)
from rlagent.records.configuration import read_config
from rlagent.records.folder import read_object
from rlagent.records.parents import STAMP, export_folder, line_of, run_of_export
from rlagent.serving.card import adapter_card, model_card
from rlagent.serving.trained import Trained

TRAINERS_EXPORT = "actor/huggingface"
"""Folder of a checkpoint; verl's holds no weights but in the last, and with LoRA in none."""

DTYPES = ("float32", "bfloat16", "float16")


def export(trained: Trained, target: Path, dtype: str = "") -> Path:
    """Write a checkpoint, or the base model, as a Hugging Face folder.

    Args:
        trained: Its checkpoint must be whole.
        target: The folder; it may exist if it is empty.
        dtype: Of `DTYPES`; empty: as the rollout engines computed.

    Returns:
        The folder's absolute path.

    Raises:
        ConfigError: Something is at `target`.
        RunError: The base model cannot be loaded, or the checkpoint is of another one, or went
            away meanwhile.
        OSError: It cannot be written; nothing is left of it then.
    """
    target = target.expanduser().absolute()
    with _whole_at(target) as scratch:
        stamp = _stamp(trained, dtype)
        _write_model(trained, scratch, dtype or _dtype(trained))
        _describe(scratch, model_card(trained, scratch), stamp)
    return target


def export_adapter(trained: Trained, target: Path) -> Path:
    """Write the adapter of a checkpoint as peft's folder; its base is named, not written.

    Args:
        trained: Its checkpoint must be whole.
        target: The folder; it may exist if it is empty.

    Returns:
        The folder's absolute path.

    Raises:
        ConfigError: Something is at `target`, or the checkpoint holds no adapter.
        OSError: It cannot be written; nothing is left of it then.
    """
    target, folder = target.expanduser().absolute(), trained.kept.folder
    if folder is None or not (folder / ADAPTER).is_file():
        what = f"{trained.kept} of {trained.run.name} has no adapter: the whole model was trained"
        what = "the base model has no adapter" if folder is None else what
        raise ConfigError([Problem("--adapter", None, what, "leave it out")])
    with _whole_at(target) as scratch:
        shutil.copyfile(folder / ADAPTER, scratch / Path(ADAPTER).name)
        config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        # verl's has none, and that of a run elsewhere is a path of then.
        config["base_model_name_or_path"] = trained.base
        text = json.dumps(config, indent=2, sort_keys=True) + "\n"
        (scratch / Path(ADAPTER_CONFIG).name).write_text(text, encoding="utf-8")
        _describe(scratch, adapter_card(trained), {**_stamp(trained, ""), "adapter": True})
    return target


def ready_folder(trained: Trained) -> str:
    """A folder or hub id from which engines load a checkpoint: the base model itself, or an export
    in the run folder, made where it is missing or of an older checkpoint of the same step, by one
    process at a time.

    Raises:
        RunError, OSError: As for `export`.
    """
    if trained.kept.folder is None and not trained.chat_template:
        return trained.base
    target = export_folder(trained.run, trained.kept.step)
    if _is_current(trained, target):
        return str(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with waited_for(_beside(target, "lock")):
            # Whoever had it before may have made the same one.
            if not _is_current(trained, target):
                _remove(target)
                export(trained, target)
    except (ConfigError, OSError) as error:
        raise RunError(f"{target} cannot be written: {error}") from error
    return str(target)


def weights_folder(trained: Trained) -> str:
    """The same for engines that get the chat template beside it: no base model is copied for that,
    and no checkpoint whose trainer has written a folder itself."""
    folder = trained.kept.folder
    if folder is None:
        return trained.base
    written = folder / TRAINERS_EXPORT
    return str(written) if any(written.glob("*.safetensors")) else ready_folder(trained)


def require_exported(path: str) -> str:
    """Export the checkpoint whose export belongs at a model's path, where it is missing or older.

    Returns:
        What was exported, in words; empty for other models, and where it was there.

    Raises:
        RunError, OSError: As for `export`.
    """
    found = run_of_export(path)
    if found is None:
        return ""
    run, step = found
    there = Path(path, STAMP).is_file()
    try:
        kept = find_checkpoint(run, str(step))
    except CheckpointError as error:
        if there:
            # Pruned since; the export is what is left of it.
            return ""
        raise RunError(str(error)) from error
    trained = Trained(run, kept, read_config(run))
    if there and _is_current(trained, Path(path)):
        return ""
    ready_folder(trained)
    return f"exported {kept} of {run.name}, from which this run starts"


def _is_current(trained: Trained, target: Path) -> bool:
    stamp = _stamp(trained, "")
    return read_object(target / STAMP, f"remove {target}") == stamp


def _no_room_at(target: Path) -> str:
    if target.is_dir() and not any(target.iterdir()):
        return ""
    if target.exists() or target.is_symlink():
        return "is a folder with files in it" if target.is_dir() else "is a file"
    return ""


def _dtype(trained: Trained) -> str:
    return str(trained.config.model.dtype) if trained.on_gpus else "float32"


def _stamp(trained: Trained, dtype: str) -> dict[str, Any]:
    """What tells an export from one of other weights of the same step, as a resume may write."""
    folder = trained.kept.folder
    template = trained.chat_template
    files = weights_of(folder) if folder else []
    found = [(file, file.stat()) for file in files if file.is_file()]
    return {
        "run": trained.run.name,
        "step": trained.kept.step,
        "lineage": line_of(trained.run, trained.config, trained.kept.step),
        "dtype": dtype or _dtype(trained),
        "chat_template": template and template_digest(template),
        "weights": [[file.name, each.st_size, each.st_mtime_ns] for file, each in found],
    }


def _write_model(trained: Trained, target: Path, dtype: str) -> None:
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    from rlagent.backends.embedded.adapter import Merger, read_adapter
    from rlagent.backends.embedded.engine.service import load_weights

    logging.disable_progress_bar()
    trust, folder = trained.config.model.trust_remote_code, trained.kept.folder
    has_adapter = folder is not None and (folder / ADAPTER).is_file()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            trained.base,
            # An adapter is added in full precision, and the sum rounded.
            dtype=torch.float32 if has_adapter else getattr(torch, dtype),
            trust_remote_code=trust,
        )
        tokenizer = AutoTokenizer.from_pretrained(trained.base, trust_remote_code=trust)
    except (OSError, ValueError, SafetensorError) as error:
        raise RunError(
            f"the base model {trained.base}, which has the tokenizer, cannot be loaded: {error}"
        ) from error
    if folder is not None:
        try:
            if has_adapter:
                Merger(model).merge(read_adapter(folder))
                model.to(getattr(torch, dtype))
            else:
                load_weights(model, load(trained.trainer.weights)(folder))
        except FileNotFoundError as error:
            raise RunError(
                f"the checkpoint of step {trained.kept.step} went away while it was read "
                f"({error.filename}): its trainer keeps the newest; take `last`"
            ) from error
        except ValueError as error:
            raise RunError(f"the checkpoint of step {trained.kept.step}: {error}") from error
    if template := trained.chat_template:
        tokenizer.chat_template = template_text(template)
    # Where the base was loaded from is a path of this machine.
    model.config._name_or_path = ""
    try:
        model.save_pretrained(target)
    except SafetensorError as error:
        # It has its own name for a full disk.
        raise OSError(f"the weights cannot be written: {error}; nothing is left of them") from error
    tokenizer.save_pretrained(target)


@contextmanager
def _whole_at(target: Path) -> Iterator[Path]:
    """A folder on the same disk that becomes `target` when all of it is written.

    Raises:
        ConfigError: Something is at `target`.
    """
    if fault := _no_room_at(target):
        raise ConfigError([Problem("--to", str(target), fault, "name a folder that is not there")])
    scratch = _beside(target, str(os.getpid()))
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        yield scratch
        _sync(scratch)
        os.rename(scratch, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _describe(folder: Path, card: str, stamp: dict[str, Any]) -> None:
    (folder / "README.md").write_text(card, encoding="utf-8")
    (folder / STAMP).write_text(json.dumps(stamp, indent=2) + "\n", encoding="utf-8")


def _remove(target: Path) -> None:
    """Remove a folder at once: nobody finds a part of it."""
    if target.exists():
        aside = _beside(target, f"{os.getpid()}.old")
        os.rename(target, aside)
        shutil.rmtree(aside)


def _beside(target: Path, ending: str) -> Path:
    return target.with_name(f".{target.name}.{ending}")


def _sync(folder: Path) -> None:
    """Have the files on disk before the folder has its name."""
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
