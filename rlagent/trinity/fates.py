"""What becomes of the rollouts of a runner process that ended; plain decisions.

Some rollout ended it, and only that one is to fail. Where it is known which, the others are run
again as they were. Else the one whose code ran last is suspected, and a rollout whose processes
have ended twice: a suspect is run again in a process of its own, and fails when that one ends too.
"""

from dataclasses import dataclass

DIED = "the process that ran it died (killed, crashed or out of memory)"


@dataclass(frozen=True)
class Fate:
    """Why a runner process ended.

    Args:
        key: Of the rollout that ended it, as far as one is known.
        cause: What it did, in one line.
        certain: Whether it was seen to do it; otherwise its code merely ran last.
    """

    key: str | None
    cause: str
    certain: bool


@dataclass(frozen=True)
class Report:
    """What a runner process says of itself.

    Args:
        fate: Why it has to end at once; None: it does not.
        worn: Why it should get no more rollouts, such as threads that go on for ever; empty: it
            may.
        slow: Where the code of one rollout blocks the others; empty: nowhere.
    """

    fate: Fate | None = None
    worn: str = ""
    slow: str = ""


def failed_by(fate: Fate, key: str, alone: bool) -> bool:
    """Whether the rollout `key`, which the process ran, is the one that fails.

    >>> blocked = Fate("1/0/3", "blocked", certain=True)
    >>> failed_by(blocked, "1/0/3", alone=False), failed_by(blocked, "1/0/2", alone=False)
    (True, False)
    """
    return alone or (fate.certain and fate.key == key)


def suspected(fate: Fate, key: str, deaths: int) -> bool:
    """Whether a rollout that did not fail is run again alone.

    Args:
        deaths: How many processes died under it, this one included, by something unknown.

    >>> died = Fate("1/0/3", DIED, certain=False)
    >>> suspected(died, "1/0/3", 1), suspected(died, "1/0/2", 1), suspected(died, "1/0/2", 2)
    (True, False, True)
    """
    return not fate.certain and (key == fate.key or deaths >= 2)
