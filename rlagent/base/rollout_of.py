"""Which rollout an experience is of, whatever it is compared with."""

from typing import Any

OF = "rollout"
"""Of an experience's info: its rollout's task and run. Those of its id are its group's, where an
algorithm compares agents or turns."""


def rollout_of(experience: Any) -> tuple[Any, int]:
    """The task and run that one of Trinity's experiences is of."""
    own = experience.eid.task, experience.eid.run
    task, run = (experience.info or {}).get(OF) or own
    return task, int(run)
