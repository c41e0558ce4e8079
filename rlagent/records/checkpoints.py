"""Where a run's checkpoints are, and which of them is the newest. What they hold is the trainers'.

A trainer, verl's too, writes a folder global_step_N and then notes N in a file beside it.
"""

import re
from pathlib import Path

LATEST_CHECKPOINT = "latest_checkpointed_iteration.txt"
"""File in the folder of checkpoints in which trainers note the step of the newest."""

MANIFEST = "manifest.json"
"""Names every file of a checkpoint of the embedded trainer."""

FULL_FLAG = ".full_checkpoint"
"""In a folder that is more than weights; Trinity's synchronizer deletes older ones without it."""


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
