"""What a trial is and needs, and where trials come from: a grid knows all, a search invents them.

Data and a contract only; running trials is pool.py's, inventing them a source's.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rlagent.config.resolve import Resolved
from rlagent.records.sweep_store import SweepFolder, TrialRow


@dataclass(frozen=True)
class Need:
    """What one trial takes from the machine while it runs.

    Args:
        gpus: GPUs, logical ones with hardware.logical_gpus; a colocated layout's count once.
        cores: CPU cores that it keeps busy; 0: it takes the share that goes with its GPUs.
        memory_gib: Host memory, GiB.
        nodes: Nodes; a trial over several runs on the user's cluster.
    """

    gpus: int = 0
    cores: int = 1
    memory_gib: float = 0.0
    nodes: int = 1


@dataclass(frozen=True)
class Trial:
    """One trial, ready to start.

    Args:
        number: Its place in the sweep, from 0.
        overrides: All its overrides, as after `python -m rlagent.train`.
        differing: Those of them that set it apart, as typed.
        params: The same as key and value, numbers as numbers.
        resolved: Its configuration, checked and without `auto`.
        need: What it takes from the machine.
        estimated_step_s: The estimate of one step, s; None where there is none.
    """

    number: int
    overrides: tuple[str, ...]
    differing: tuple[str, ...]
    params: dict[str, Any] = field(hash=False)
    resolved: Resolved = field(hash=False, repr=False)
    need: Need
    estimated_step_s: float | None = None

    @property
    def trial_id(self) -> str:
        """Its identity, which names its run folder."""
        return self.resolved.trial_id

    @property
    def folder_name(self) -> str:
        """Name of its run folder, below run.dir."""
        return f"{self.resolved.config.run.name}-{self.trial_id}"


class Source(Protocol):
    """Where the pool gets trials from. Called from one thread only."""

    def next(self) -> Trial | None:
        """The trial to start next; None when there is nothing to start right now."""

    def exhausted(self) -> bool:
        """Whether no trial will ever come any more."""

    def illegal(self) -> tuple[int, int]:
        """How many suggestions were no legal configuration, of how many; those of earlier launches
        that this one goes on from are counted."""

    def report(self, trial: Trial, step: int, value: float) -> bool:
        """Take an intermediate value of the sweep's metric; True: prune this trial."""

    def ended(self, trial: Trial, row: TrialRow) -> None:
        """Take how a trial ended, also a failed or pruned one; retries are over by then."""


def row_of(trial: Trial, folder: SweepFolder) -> TrialRow:
    """A new row for a trial."""
    run = Path(trial.resolved.config.run.dir).absolute() / trial.folder_name
    return TrialRow(
        number=trial.number,
        overrides=list(trial.differing),
        params=dict(trial.params),
        trial_id=trial.trial_id,
        folder=os.path.relpath(run, folder.path),
        layout=str(trial.resolved.layout),
        estimated_step_s=trial.estimated_step_s,
    )
