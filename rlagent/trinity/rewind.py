"""Making explorer and trainer agree on where a run stands before it is resumed.

Trinity writes the explorer's state at every weight sync but the trainer's only at checkpoints, so
after a crash the explorer may be ahead. Its states are kept for each step, and the one of the
trainer's checkpoint is put back.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rlagent.records.checkpoints import LATEST_CHECKPOINT, full_steps, noted_step, step_folder
from rlagent.records.files import append_row, read_rows, write_atomically

HISTORY = "explorer_history.jsonl"
"""Every state that the explorer saved, one per line, in the checkpoint folder."""


def remember(checkpoint_dir: str | Path, state: dict[str, Any]) -> None:
    """Append one explorer state: `latest_iteration` and `taskset_states`."""
    append_row(Path(checkpoint_dir) / HISTORY, state)


def checkpoint_step(checkpoint_dir: str | Path, say: Callable[[str], None] | None = None) -> int:
    """Step of the trainer's newest checkpoint; 0 without one.

    Where the note of it is damaged, or names a checkpoint that is not there, it is the newest
    that is there, and the note is set right: trainers read it too.

    Args:
        checkpoint_dir: Folder of the checkpoints.
        say: Called with a line when the note was wrong.

    Raises:
        RuntimeError: The note is wrong, and no checkpoint is there.
    """
    folder = Path(checkpoint_dir)
    noted = noted_step(folder)
    if noted == 0 or (noted is not None and step_folder(folder, noted).is_dir()):
        return noted
    note = folder / LATEST_CHECKPOINT
    wrong = "holds no step number" if noted is None else f"names step {noted}, which is not there"
    steps = full_steps(folder)
    if not steps:
        raise RuntimeError(
            f"{note} {wrong}, nor is any other checkpoint: put back the global_step_N folders, or "
            "start from scratch with run.fresh=true"
        )
    if say:
        say(f"{note} {wrong}: the newest checkpoint that is there is of step {steps[-1]}")
    write_atomically(note, str(steps[-1]))
    return steps[-1]


def state_at(states: list[dict[str, Any]], step: int) -> dict[str, Any] | None:
    """The newest state of that step; None when there is none.

    >>> state_at([{"latest_iteration": 1}, {"latest_iteration": 2}], 1)
    {'latest_iteration': 1}
    """
    found = [state for state in states if state.get("latest_iteration") == step]
    return found[-1] if found else None


def rewind_explorer(
    checkpoint_dir: str | Path,
    explorer_name: str,
    step: int | None = None,
    say: Callable[[str], None] | None = None,
) -> int:
    """Put the explorer's state back to a checkpoint of the trainer.

    Args:
        checkpoint_dir: Where both keep their state.
        explorer_name: The explorer's name in Trinity's configuration.
        step: The checkpoint's step; None: the newest.
        say: As for `checkpoint_step`.

    Returns:
        The step from which both continue.

    Raises:
        RuntimeError: The explorer's state of that step is lost.
    """
    folder = Path(checkpoint_dir)
    step = checkpoint_step(folder, say) if step is None else step
    meta = folder / f"{explorer_name}_meta.json"
    if step == 0:
        # Nothing was saved: also a checkpoint that was cut off while it was written.
        meta.unlink(missing_ok=True)
        return 0
    state = state_at(list(read_rows(folder / HISTORY)), step)
    if state is None:
        if state_at([_read(meta)], step):
            return step
        raise RuntimeError(
            f"{folder} holds a checkpoint of step {step} but not the explorer's state of it; "
            "start from scratch with run.fresh=true"
        )
    write_atomically(meta, json.dumps(state, indent=2))
    return step


def _read(meta: Path) -> dict[str, Any]:
    """The state in a file of Trinity's; empty where there is none or it is damaged."""
    try:
        found = json.loads(meta.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
