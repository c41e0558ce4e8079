"""Finds what a person means by a name: a run or a sweep."""

import os
from pathlib import Path

from rlagent.records.folder import RunFolder, RunNotFoundError, find_run, folders_with
from rlagent.records.sweep_store import SWEEP_JSON, SweepFolder


def find_any(text: str, root: str | os.PathLike[str] = "outputs") -> RunFolder | SweepFolder:
    """The run or sweep that is meant: a folder, its name, its id, or `latest`.

    Args:
        text: As typed.
        root: Where run folders and sweep folders are.

    Raises:
        RunNotFoundError: None or several match; the message names what there is.
    """
    root = Path(root)
    for candidate in (Path(text), root / text):
        folder = SweepFolder(candidate.resolve())
        if folder.exists():
            return folder
    sweeps = sweep_folders(root)
    matching = [folder for folder in sweeps if folder.name.endswith(f"-{text}")]
    try:
        return find_run(text, root)
    except RunNotFoundError as error:
        if len(matching) == 1 and "several" not in str(error):
            return matching[0]
        names = ", ".join(folder.name for folder in sweeps[:8])
        more = f"; sweeps: {names}" if names else ""
        raise RunNotFoundError(f"{error}{more}") from None


def sweep_folders(root: str | os.PathLike[str]) -> list[SweepFolder]:
    """Sweep folders below `root`, the one written last first."""
    return [SweepFolder(path) for path in folders_with(SWEEP_JSON, Path(root))]
