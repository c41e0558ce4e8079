"""How the pool runs trials: how often, and which of them need no process."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlagent.config.resolve import Resolved
from rlagent.records.folder import RunFolder
from rlagent.records.sweep_store import TrialRow
from rlagent.sweep.source import Need, Trial


@dataclass(frozen=True)
class Options:
    """How the trials of a sweep are run.

    Args:
        argv: Makes the command line of a trial.
        retries: Further tries of a failed trial.
        stop_on_failure: Whether a failed trial ends the others.
        lookahead: Trials taken from the source that may wait for room at once.
        least: What any trial takes at least. The source is asked only when that much is free, so
            that a search knows by then how as many trials as possible ended; None: asked at once.
        derive: Makes the configuration of a trial for so many cores, with further values by key;
            None: its process derives it itself.
        own_gpus: Whether each trial has a Ray of its own that sees its share of the GPUs.
        env: The environment that trials inherit.
        is_done: Whether a trial needs no process, since its run folder holds all that is asked.
        is_from_scratch: Whether a trial sets its run folder aside without run.fresh; asked when it
            starts.
        on_failed: Called with each trial that failed and is not tried again; must return at once.
    """

    argv: Callable[[Trial], Sequence[str]]
    retries: int = 0
    stop_on_failure: bool = False
    lookahead: int = 1
    least: Need | None = None
    derive: Callable[[Trial, int, Mapping[str, Any]], Resolved] | None = None
    own_gpus: bool = True
    env: Mapping[str, str] | None = None
    is_done: Callable[[Trial, RunFolder], bool] = lambda trial, folder: False
    is_from_scratch: Callable[[Trial, RunFolder], bool] = lambda trial, folder: False
    on_failed: Callable[[Trial, TrialRow], None] = lambda trial, row: None


class Done:
    """Which trials are done; each is asked about once, and again only when its run has gone on.

    Asking takes a fingerprint of the workflow and its data, and many trials may wait at once.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        # Trials that are not, each by what its status.json was when that was found out.
        self._not: dict[str, tuple[int, int]] = {}

    def holds(self, trial: Trial, run: RunFolder) -> bool:
        """Whether the run folder of a trial holds all that is asked."""
        stamp = _stamp(run.status_json)
        if self._not.get(trial.trial_id) == stamp:
            return False
        if self._options.is_done(trial, run):
            return True
        self._not[trial.trial_id] = stamp
        return False


def _stamp(path: Path) -> tuple[int, int]:
    """A value that changes whenever a file is replaced."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_ino, found.st_mtime_ns
