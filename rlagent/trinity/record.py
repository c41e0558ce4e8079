"""What a run was made with: layout, versions, and fingerprints of workflow source and dataset.

Written at the first attempt; a later one of the same trial compares.
"""

import hashlib
import inspect
import json
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from rlagent.config.functions import locate
from rlagent.config.paths import local_path
from rlagent.config.resolve import Resolved
from rlagent.run.folder import RunFolder, write_atomically

PACKAGES = (
    "rlagent",
    "trinity-rft",
    "agentscope",
    "ray",
    "torch",
    "transformers",
    "vllm",
    "verl",
    "xgrammar",
)
FILE = "record.json"


def make_record(resolved: Resolved, workflow: Callable[..., Any] | None) -> dict[str, Any]:
    """The record of a run that would start now."""
    return {
        "layout": str(resolved.layout),
        "model": resolved.config.model.path,
        "versions": {name: _version(name) for name in PACKAGES},
        "workflow": _workflow_fingerprint(resolved.config.workflow.function, workflow),
        "dataset": _dataset_fingerprint(resolved),
    }


def read_record(folder: RunFolder) -> dict[str, Any] | None:
    """The record of the first attempt; None before it."""
    path = folder.path / FILE
    return json.loads(path.read_text()) if path.is_file() else None


def write_record(folder: RunFolder, record: dict[str, Any]) -> None:
    """Keep the record of the first attempt."""
    write_atomically(folder.path / FILE, json.dumps(record, indent=2) + "\n")


def changed(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Which of workflow and dataset differ, in words.

    >>> changed({"workflow": "a", "dataset": "b"}, {"workflow": "x", "dataset": "b"})
    ['the workflow']
    """
    words = {"workflow": "the workflow", "dataset": "the dataset"}
    return [text for key, text in words.items() if old.get(key) != new.get(key)]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _workflow_fingerprint(spec: str, function: Callable[..., Any] | None) -> str | None:
    if function is not None:
        file = inspect.getsourcefile(inspect.unwrap(function))
        return _digest([Path(file)]) if file else None
    return _digest([locate(spec).file]) if spec else None


def _dataset_fingerprint(resolved: Resolved) -> str:
    dataset = resolved.config.dataset
    files: list[Path] = []
    for path, split in ((dataset.path, dataset.split), (dataset.eval_path, dataset.eval_split)):
        local = local_path(path) if path else None
        if local is None:
            continue
        if local.is_file():
            files.append(local)
        elif split and (local / f"{split}.jsonl").is_file():
            files.append(local / f"{split}.jsonl")
    return _digest(files, f"{dataset.path} {dataset.subset} {dataset.split} {dataset.eval_split}")


def _digest(files: list[Path], text: str = "") -> str:
    digest = hashlib.sha256(text.encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
