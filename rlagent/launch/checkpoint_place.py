"""Where a run's checkpoints are: in its run folder, or linked from there to a directory elsewhere.

Trinity continues whatever checkpoint it finds, so no two runs may ever share a directory.
"""

from pathlib import Path

from rlagent.base.errors import ConfigError, Problem
from rlagent.config.schema import LearnConfig
from rlagent.records.folder import RunFolder

KEY = "checkpoint_root_dir"


def elsewhere(composed: LearnConfig) -> str | None:
    """Return the directory that a native YAML or `trinity:` names for checkpoints, if any."""
    native = getattr(composed, "native", None) or {}
    return composed.trinity.get(KEY) or native.get(KEY) or None


def place_checkpoints(folder: RunFolder, directory: str | None) -> None:
    """Link the run folder's `checkpoints` to a directory of its own below `directory`.

    That directory is named after the run folder, with a number where the name is taken: by the
    run that run.fresh has set aside, or by the same trial of another run.dir.

    Args:
        folder: The run folder; a resumed run keeps what it has.
        directory: Absolute, or relative to the working directory; None: the run folder itself.

    Raises:
        ConfigError: The directory cannot be made.
    """
    link = folder.checkpoints
    if link.is_symlink():
        link.resolve().mkdir(parents=True, exist_ok=True)
        return
    if directory is None or link.exists():
        return
    root = Path(directory).expanduser().absolute()
    try:
        root.mkdir(parents=True, exist_ok=True)
        link.symlink_to(_new_directory(root, folder.name), target_is_directory=True)
    except OSError as error:
        remedy = "name a directory that can be written, or leave it out: the run folder keeps them"
        raise ConfigError([Problem(KEY, directory, str(error), remedy)]) from error


def _new_directory(root: Path, name: str) -> Path:
    number = 0
    while True:
        path = root / (f"{name}.{number}" if number else name)
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
        else:
            return path
