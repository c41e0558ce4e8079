"""What a run was made with: layout, versions, and fingerprints of workflow source and dataset.

Written at the first attempt; a later one of the same trial compares.
"""

import functools
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
from rlagent.run.folder import RunFolder, read_object, write_atomically

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


def make_record(
    resolved: Resolved,
    workflow: Callable[..., Any] | None,
    judge: Callable[..., Any] | None = None,
) -> dict[str, Any]:
    """The record of a run that would start now."""
    named = resolved.config.workflow
    return {
        "layout": str(resolved.layout),
        "model": resolved.config.model.path,
        "versions": {name: _version(name) for name in PACKAGES},
        "workflow": _source_fingerprint((named.function, workflow), (named.judge, judge)),
        "dataset": _dataset_fingerprint(resolved),
    }


def read_record(folder: RunFolder) -> dict[str, Any] | None:
    """The record of the first attempt; None before it.

    Raises:
        DamagedError: It holds something else.
    """
    return read_object(folder.path / FILE, "the same command resumes the run and writes it again")


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


def _source_fingerprint(*functions: tuple[str | None, Callable[..., Any] | None]) -> str | None:
    """Of the sources of functions, each given as an object or else by its name; None without."""
    texts = []
    for spec, function in functions:
        if function is not None:
            texts.append(source_of(function))
        elif spec:
            texts.append(locate(spec).file.read_bytes())
    known = list(dict.fromkeys(text for text in texts if text))
    return hashlib.sha256(b"".join(known)).hexdigest()[:16] if known else None


def source_of(function: Callable[..., Any]) -> bytes:
    """The file that a function stands in, or its own lines where there is no such file, as in a
    notebook; nothing where not even those are known."""
    if isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    if not inspect.isroutine(function):
        # An object that can be called: what it does stands in its class.
        function = type(function)
    try:
        file = inspect.getsourcefile(function)
        if file and Path(file).is_file():
            return Path(file).read_bytes()
        return inspect.getsource(function).encode()
    except (OSError, TypeError):
        return b""


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
