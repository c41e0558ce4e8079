"""Making explorer and trainer agree on where a run stands before it is resumed.

Trinity writes the explorer's state at every weight sync but the trainer's only at checkpoints, so
after a crash the explorer may be ahead. Its states are kept for each step, and the one of the
trainer's checkpoint is put back.
"""

import json
from pathlib import Path
from typing import Any

from rlagent.run.folder import LATEST_CHECKPOINT, append_row, read_rows, write_atomically

HISTORY = "explorer_history.jsonl"
"""Every state that the explorer saved, one per line, in the checkpoint folder."""


def remember(checkpoint_dir: str | Path, state: dict[str, Any]) -> None:
    """Append one explorer state: `latest_iteration` and `taskset_states`."""
    append_row(Path(checkpoint_dir) / HISTORY, state)


def checkpoint_step(checkpoint_dir: str | Path) -> int:
    """Step of the trainer's newest checkpoint; 0 without one.

    Raises:
        RuntimeError: The note of it is damaged.
    """
    note = Path(checkpoint_dir) / LATEST_CHECKPOINT
    try:
        return int(note.read_text().strip())
    except FileNotFoundError:
        return 0
    except ValueError:
        raise RuntimeError(
            f"{note} holds no step number, as after a full disk: write the step of the newest "
            "whole checkpoint into it, or start anew with run.fresh=true"
        ) from None


def state_at(states: list[dict[str, Any]], step: int) -> dict[str, Any] | None:
    """The newest state of that step; None when there is none.

    >>> state_at([{"latest_iteration": 1}, {"latest_iteration": 2}], 1)
    {'latest_iteration': 1}
    """
    found = [state for state in states if state["latest_iteration"] == step]
    return found[-1] if found else None


def rewind_explorer(checkpoint_dir: str | Path, explorer_name: str, step: int | None = None) -> int:
    """Put the explorer's state back to a checkpoint of the trainer.

    Args:
        checkpoint_dir: Where both keep their state.
        explorer_name: The explorer's name in Trinity's configuration.
        step: The checkpoint's step; None: the newest.

    Returns:
        The step from which both continue.

    Raises:
        RuntimeError: The explorer's state of that step is lost.
    """
    folder = Path(checkpoint_dir)
    step = checkpoint_step(folder) if step is None else step
    meta = folder / f"{explorer_name}_meta.json"
    if step == 0:
        # Nothing was saved: also a checkpoint that was cut off while it was written.
        meta.unlink(missing_ok=True)
        return 0
    state = state_at(list(read_rows(folder / HISTORY)), step)
    if state is None:
        current = json.loads(meta.read_text()) if meta.exists() else {}
        if current.get("latest_iteration") == step:
            return step
        raise RuntimeError(
            f"{folder} holds a checkpoint of step {step} but not the explorer's state of it; "
            "start anew with run.fresh=true"
        )
    write_atomically(meta, json.dumps(state, indent=2))
    return step
