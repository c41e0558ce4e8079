"""Whether a command starts a run, resumes it, starts it anew, or has nothing to do. Pure."""

import enum
import time
from dataclasses import dataclass
from typing import Any

from rlagent.trinity.record import changed


class Action(enum.Enum):
    """What the launch does with the run folder that it found."""

    START = "start"
    RESUME = "resume"
    ANEW = "anew"
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
) -> Decision:
    """Decide what the same command does this time.

    Args:
        status: status.json of the folder; empty for a new run.
        old: The record of the first attempt; None for a new run.
        new: The record that a new run would get.
        total_steps: Steps asked for now.
        fresh: Whether run.fresh is set.
    """
    if not status or old is None:
        return Decision(Action.START)
    if fresh:
        return Decision(Action.ANEW, "run.fresh: the earlier run is kept beside, with a number")
    finished = status.get("state") == "finished"
    differences = changed(old, new)
    if finished and differences:
        what = " and ".join(differences)
        return Decision(
            Action.ANEW,
            f"{what} changed since the run finished: it starts anew, the old one is kept",
        )
    trained = status.get("steps_trained") or 0
    if finished and trained >= total_steps:
        return Decision(Action.NOTHING, _done(status))
    if old["layout"] != new["layout"]:
        return Decision(
            Action.REFUSE,
            f"this run began with the layout {old['layout']}, now it is {new['layout']}; "
            f"resume it with hardware.layout={old['layout']}, or start anew with run.fresh=true",
        )
    if differences:
        what = " and ".join(differences)
        return Decision(Action.RESUME, f"note: {what} changed since this run began")
    return Decision(Action.RESUME)


def _done(status: dict[str, Any]) -> str:
    day = time.strftime("%Y-%m-%d %H:%M", time.localtime(status.get("updated", 0)))
    before, after = status.get("success_before"), status.get("success_after")
    success = ""
    if before is not None and after is not None:
        success = f", success {100 * before:.1f} % -> {100 * after:.1f} %"
    return f"done on {day}{success}; again with run.fresh=true"
