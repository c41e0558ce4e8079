"""What a run was made with: layout, versions, and fingerprints of workflow source and dataset.

Written at the first attempt; a later one of the same trial compares.
"""

import contextlib
import hashlib
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rlagent.backends.registry import engines, packages_of
from rlagent.base.paths import whole_path
from rlagent.config.fingerprint import fingerprint, inner
from rlagent.config.functions import locate
from rlagent.config.mix import parts_of
from rlagent.config.parents import Lineage
from rlagent.config.resolve import Resolved
from rlagent.config.row_filter import is_reference
from rlagent.config.row_folders import files_of
from rlagent.config.schema import DatasetConfig, WorkflowConfig
from rlagent.config.sources import source_files
from rlagent.config.task_files import is_function, split_file
from rlagent.records.configuration import RECORD
from rlagent.records.files import read_object, write_atomically
from rlagent.records.folder import RunFolder
from rlagent.records.parents import lineage_of_folder
from rlagent.upstream.patch import installed

PACKAGES = (
    "rlagent",
    "trinity-rft",
    "agentscope",
    "ray",
    "torch",
    "transformers",
    *(name for engine in engines() for name in packages_of(engine)),
)


def make_record(
    resolved: Resolved,
    workflow: Callable[..., Any] | None,
    judge: Callable[..., Any] | None = None,
) -> dict[str, Any]:
    """The record of a run that would start now."""
    named = resolved.config.workflow
    return {
        "layout": str(resolved.layout),
        "model": whole_path(resolved.config.model.path),
        "engine": resolved.config.hardware.engine,
        "versions": {name: installed(name) for name in PACKAGES},
        "workflow": _source_fingerprint((named.function, workflow), (named.judge, judge)),
        "dataset": _dataset_fingerprint(resolved),
        "lineage": lineage_of(resolved),
    }


def lineage_of(resolved: Resolved) -> Lineage:
    """The checkpoints that the model comes from, the nearest first; empty for a base model."""
    if resolved.parent is not None:
        return resolved.parent.lineage
    return lineage_of_folder(resolved.config.model.path)


def read_record(folder: RunFolder) -> dict[str, Any] | None:
    """The record of the first attempt; None before it.

    Raises:
        DamagedError: It holds something else.
    """
    return read_object(folder.path / RECORD, "the same command resumes the run and writes it again")


def write_record(folder: RunFolder, record: dict[str, Any]) -> None:
    """Keep the record of the first attempt."""
    write_atomically(folder.path / RECORD, json.dumps(record, indent=2) + "\n")


CHOSEN = {"model": "the model", "engine": "the engine", "layout": "the layout"}
"""What `auto` may become on another machine, in the record and in words."""

WRITTEN = {"workflow": "the workflow", "dataset": "the dataset"}
"""What is edited beside the configuration."""


def changed(old: dict[str, Any], new: dict[str, Any], words: dict[str, str]) -> list[str]:
    """Which of what `words` names differ, in words; what an old record lacks does not.

    >>> changed({"workflow": "a", "dataset": "b"}, {"workflow": "x", "dataset": "b"}, WRITTEN)
    ['the workflow']
    >>> changed({"model": "small"}, {"model": "large", "engine": "vllm"}, CHOSEN)
    ['the model (small, now large)']
    """
    found = []
    for key, text in words.items():
        if differs(old, new, key):
            values = f" ({old[key]}, now {new.get(key)})" if words is CHOSEN else ""
            found.append(f"{text}{values}")
    return found


def differs(old: dict[str, Any], new: dict[str, Any], key: str) -> bool:
    """Whether two records say different things; what an old one lacks is not known to differ."""
    if key not in old:
        return False
    before = whole_path(old[key]) if key == "model" else old[key]
    return bool(before != new.get(key))


def source_record(named: WorkflowConfig) -> str | None:
    """The fingerprint of the sources of workflow and judge, both named."""
    return _source_fingerprint((named.function, None), (named.judge, None))


def _source_fingerprint(*functions: tuple[str | None, Callable[..., Any] | None]) -> str | None:
    """Of the sources of functions, each given as an object or else by its name; None without."""
    texts: set[bytes] = set()
    for spec, function in functions:
        if function is not None:
            for thing in (function, *fingerprint(function).carried):
                texts |= _texts_of(thing)
        elif spec:
            texts |= {file.read_bytes() for file in source_files(locate(spec).file)}
    known = sorted(text for text in texts if text)
    return hashlib.sha256(b"".join(known)).hexdigest()[:16] if known else None


def _texts_of(thing: Any) -> set[bytes]:
    """Its file with what that imports, and its own lines: of one name a file may define two."""
    found = {source_of(thing)}
    with contextlib.suppress(OSError, TypeError):
        known = _known(thing)
        found.add(inspect.getsource(known).encode())
        file = inspect.getsourcefile(known)
        if file and Path(file).is_file():
            found |= {path.read_bytes() for path in source_files(Path(file))}
    return found


def source_of(function: Callable[..., Any]) -> bytes:
    """The file that a function stands in, or its own lines where there is no such file, as in a
    notebook; nothing where not even those are known."""
    function = _known(function)
    try:
        file = inspect.getsourcefile(function)
        if file and Path(file).is_file():
            return Path(file).read_bytes()
        return inspect.getsource(function).encode()
    except (OSError, TypeError):
        return b""


def _known(function: Any) -> Any:
    """What `inspect` knows the source of."""
    function = inspect.unwrap(inner(function))
    # An object that can be called: what it does stands in its class.
    is_known = inspect.isroutine(function) or inspect.isclass(function)
    return function if is_known else type(function)


ROWS = ("args", "map", "filter")
"""Fields of a dataset that make other tasks of the same rows."""


def functions_of(dataset: DatasetConfig) -> list[str]:
    """The functions that make a taskset's rows and choose among them, by name."""
    named = [dataset.path] if is_function(dataset.path) else []
    chosen = dataset.filter
    return [*named, chosen] if chosen and is_reference(chosen) else named


def rows_source(dataset: DatasetConfig) -> str | None:
    """The fingerprint of the sources of those."""
    return _source_fingerprint(*((named, None) for named in functions_of(dataset)))


def _dataset_fingerprint(resolved: Resolved) -> str:
    dataset = resolved.config.dataset
    files: list[Path] = []
    places = [(dataset.path, dataset.split), (dataset.eval_path, dataset.eval_split)]
    for more in dataset.mix:
        places += [(more.path, more.split), (more.path, more.eval_split)]
    for path, split in places:
        file = split_file(path, split or "") if path else None
        if file is not None:
            files += files_of(file)
    tasksets = [part.dataset for part in parts_of(dataset)]
    for one in tasksets:
        files += [file for named in functions_of(one) for file in source_files(locate(named).file)]
    said = [f"{whole_path(one.path)} {one.subset} {one.split} {one.eval_split}" for one in tasksets]
    return _digest(files, " ".join(said))


def _digest(files: list[Path], text: str = "") -> str:
    digest = hashlib.sha256(text.encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
