"""How a trial ended, and to which class a failure belongs. Pure: status, exit status, log tail."""

import re
import signal
from dataclasses import dataclass
from typing import Any

from rlagent.base.lock import IN_USE
from rlagent.base.texts import shown
from rlagent.records.folder import ENDED
from rlagent.records.sweep_store import FAILED, FINISHED, INTERRUPTED, STOPPED

OUT_OF_MEMORY = "out of memory"
WORKFLOW = "workflow error"
TIMEOUT = "timeout"
LOST_ACTOR = "lost actor"
CONFIGURATION = "configuration"
DISK_FULL = "disk full"
STALLED = "stalled"
KILLED = "killed"
CRASHED = "crashed"
UNKNOWN = "unknown"
CLASSES = (
    OUT_OF_MEMORY,
    WORKFLOW,
    TIMEOUT,
    LOST_ACTOR,
    CONFIGURATION,
    DISK_FULL,
    STALLED,
    KILLED,
    CRASHED,
    UNKNOWN,
)
"""Classes of failures, as rows and reports name them."""

EXIT_CONFIG = 2

_OF_ITS_OWN = {
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGILL,
    signal.SIGFPE,
    signal.SIGABRT,
}
"""Signals that a process gets for what it did itself; nobody sent them."""

_MEMORY = re.compile(
    r"OutOfMemory|CUDA out of memory|out of memory\b(?!\))|MemoryError|ran low on memory"
    r"|(?:Cannot|can't) allocate memory|CUBLAS_STATUS_ALLOC_FAILED|std::bad_alloc"
    # What vLLM says when its weights or its KV cache do not fit.
    r"|No available memory for the cache blocks|larger than the available KV cache memory"
    r"|Free memory on device .* desired GPU memory utilization",
    re.IGNORECASE | re.DOTALL,
)
# What session.py says of an actor whose process is gone; it names memory as one guess of three.
_LOST = re.compile(
    r"its process died|ActorDied|ActorUnavailable|WorkerCrashed|The actor died"
    # vLLM's engine is a process of its own, whose reason is in the log alone.
    r"|Ray's (gcs_server|raylet|head) "
    r"|Engine core initialization failed|EngineCore encountered an issue"
)
_DISK = re.compile(r"No space left on device|Errno 28|Disk quota exceeded|only \d+ of \d+ bytes")
_STALL = re.compile(r"run\.stall_timeout")
_TIMEOUT = re.compile(r"Timeout|timed out", re.IGNORECASE)
# What decide.py says to a run that cannot be resumed as asked.
_REFUSED = re.compile(r"this run began with ")
_ROLLOUTS = re.compile(r"all \d+ rollouts of .* failed")


@dataclass(frozen=True)
class Ending:
    """How one try of a trial ended.

    Args:
        state: finished, failed, stopped or interrupted.
        exit_code: Of its process; negative for the signal that killed it.
        cause: One line; empty when it finished.
        failure: One of CLASSES for a failed one, else None.
    """

    state: str
    exit_code: int
    cause: str = ""
    failure: str | None = None


def ending(status: dict[str, Any], exit_code: int, log_tail: str) -> Ending:
    """Return how a try ended.

    Args:
        status: What status.json says of this very try; empty when it wrote none.
        exit_code: Of its process; negative for a signal.
        log_tail: The last lines that it printed.
    """
    state, cause = status.get("state"), str(status.get("cause") or "")
    if state == FINISHED or (exit_code == 0 and state is None):
        # All is saved by then: a process that dies while it cleans up loses nothing. Without a
        # status it was done before it began.
        return Ending(FINISHED, exit_code)
    if state in (STOPPED, INTERRUPTED):
        return Ending(state, exit_code, cause)
    if state not in ENDED:
        cause = _without_a_word(exit_code, log_tail)
    return Ending(FAILED, exit_code, cause, classify(cause, exit_code, log_tail))


def classify(cause: str, exit_code: int, log_tail: str = "") -> str:
    """Return the class of a failure.

    Args:
        cause: What the run said, in one line.
        exit_code: Of its process; negative for a signal.
        log_tail: Asked where the cause alone does not tell.
    """
    if exit_code == EXIT_CONFIG or _REFUSED.search(cause):
        return CONFIGURATION
    if _STALL.search(cause):
        return STALLED
    if _DISK.search(cause):
        return DISK_FULL
    if _LOST.search(cause):
        return OUT_OF_MEMORY if _MEMORY.search(log_tail) else LOST_ACTOR
    if _MEMORY.search(cause):
        return OUT_OF_MEMORY
    if _ROLLOUTS.search(cause):
        return TIMEOUT if _TIMEOUT.search(cause) else WORKFLOW
    if _TIMEOUT.search(cause):
        return TIMEOUT
    if exit_code < 0:
        if _MEMORY.search(log_tail):
            return OUT_OF_MEMORY
        return CRASHED if -exit_code in _OF_ITS_OWN else KILLED
    return UNKNOWN


def is_retried(failure: str | None) -> bool:
    """Whether another try can help: a wrong configuration stays wrong."""
    return failure is not None and failure != CONFIGURATION


def is_held_up(log_tail: str) -> bool:
    """Whether a try did not begin, since another process held its run folder."""
    return IN_USE in _last_line(log_tail)


def _without_a_word(exit_code: int, log_tail: str) -> str:
    """The cause of a process that did not write how it ended."""
    if exit_code < 0:
        try:
            name = signal.Signals(-exit_code).name
        except ValueError:
            name = f"signal {-exit_code}"
        verb = "crashed with" if -exit_code in _OF_ITS_OWN else "was killed by"
        return f"its process {verb} {name}"
    none = f"its process ended with exit status {exit_code} and no word"
    return shown(_last_line(log_tail)) or none


def _last_line(log_tail: str) -> str:
    lines = [line.strip() for line in log_tail.splitlines() if line.strip()]
    return lines[-1] if lines else ""
