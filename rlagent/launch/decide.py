"""Whether a command starts a run, resumes it, starts it from scratch, or has nothing to do. Pure.

A result belongs to what was run: the first attempt's record says what that was, and nothing of it
changes under a run that goes on.
"""

import enum
import time
from dataclasses import dataclass
from typing import Any

from rlagent.launch.record import CHOSEN, WRITTEN, changed, differs


class Action(enum.Enum):
    """What the launch does with the run folder that it found."""

    START = "start"
    RESUME = "resume"
    FROM_SCRATCH = "from scratch"
    NOTHING = "nothing"
    REFUSE = "refuse"


@dataclass(frozen=True)
class Decision:
    """An action and what is said about it; empty words say nothing."""

    action: Action
    words: str = ""


def decide(
    status: dict[str, Any],
    old: dict[str, Any] | None,
    new: dict[str, Any],
    total_steps: int,
    fresh: bool,
    resume_changed: bool = False,
) -> Decision:
    """Decide what the same command does this time.

    Args:
        status: status.json of the folder; empty for a new run.
        old: The record of the first attempt; None for a new run.
        new: The record that a new run would get.
        total_steps: Steps asked for now.
        fresh: Whether run.fresh is set.
        resume_changed: Whether run.resume_changed is set.
    """
    if old is None:
        return Decision(Action.START)
    if fresh:
        return Decision(
            Action.FROM_SCRATCH, "run.fresh: the earlier run is kept beside, with a number"
        )
    finished = status.get("state") == "finished"
    trained = status.get("steps_trained") or 0
    chosen, written = changed(old, new, CHOSEN), changed(old, new, WRITTEN)
    if finished:
        # Where a run was spread over GPUs makes no other result.
        others = [*changed(old, new, {k: v for k, v in CHOSEN.items() if k != "layout"}), *written]
        if others:
            return Decision(Action.FROM_SCRATCH, _from_scratch(others, "since the run finished"))
        if trained >= total_steps:
            return Decision(Action.NOTHING, _done(status))
    elif status and not trained and (chosen or written):
        # Without a status nobody knows what is trained.
        since = "since this run began; nothing is trained yet"
        return Decision(Action.FROM_SCRATCH, _from_scratch([*chosen, *written], since))
    if chosen:
        return Decision(
            Action.REFUSE,
            f"this run began with {_began_with(old, new)}; resume it where that is chosen again, "
            "or start from scratch with run.fresh=true",
        )
    if written and not resume_changed:
        return Decision(
            Action.REFUSE,
            f"this run began with another state of {' and of '.join(written)}; undo the change, "
            "resume all the same with run.resume_changed=true, or start from scratch with "
            "run.fresh=true",
        )
    if written:
        note = f"note: {' and '.join(written)} changed since it began"
        if WRITTEN["dataset"] in written:
            note += "; tasks that are kept in the folder data/ of the run stay those it began with"
        return Decision(Action.RESUME, note)
    return Decision(Action.RESUME)


def _from_scratch(what: list[str], since: str) -> str:
    return f"{' and '.join(what)} changed {since}: it starts from scratch, the old one is kept"


def _began_with(old: dict[str, Any], new: dict[str, Any]) -> str:
    """What `auto` became then and becomes now.

    >>> _began_with({"layout": "1x1+1", "model": "m"}, {"layout": "2x1+2", "model": "m"})
    'the layout 1x1+1, now it is 2x1+2'
    """
    differing = [key for key in CHOSEN if differs(old, new, key)]
    then = " and ".join(f"{CHOSEN[key]} {old[key]}" for key in differing)
    return f"{then}, now it is {' and '.join(str(new.get(key)) for key in differing)}"


def _done(status: dict[str, Any]) -> str:
    day = time.strftime("%Y-%m-%d %H:%M", time.localtime(status.get("updated", 0)))
    before, after = status.get("success_before"), status.get("success_after")
    success = ""
    if before is not None and after is not None:
        success = f", success {100 * before:.1f} % -> {100 * after:.1f} %"
    return f"done on {day}{success}; again with run.fresh=true"
