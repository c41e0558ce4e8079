"""Whether a recorded process is still the same one: process ids are reused, start times are not.

Reads /proc only; sending signals and waiting are left to the callers.
"""

from pathlib import Path


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when there is no such process.

    A zombie counts as gone: it has ended and only waits for its parent to notice.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command name stands in parentheses and may itself hold spaces and parentheses.
    fields = text[text.rindex(")") + 2 :].split()
    if fields[0] in ("Z", "X"):
        return None
    return int(fields[19])


def is_same(pid: int, recorded_ticks: int | None) -> bool:
    """Whether `pid` lives and, where a start time was recorded, started at that time."""
    now = start_ticks(pid)
    return now is not None and (recorded_ticks is None or now == recorded_ticks)
