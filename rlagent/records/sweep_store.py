"""The sweep folder: which trials a sweep has, how each stands, and the command that made it.

`outputs/sweep-{name}-{sweep id}/sweep.json` is written by the launcher alone and is always whole;
each trial's own numbers stay in its run folder, which the row of the trial points to.
"""

import functools
import json
import os
import socket
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rlagent.base import process
from rlagent.config.spec import UNKNOWN, Spec, build, spec_of, validate
from rlagent.records.files import DamagedError, read_object, write_atomically
from rlagent.records.folder import RunFolder

SWEEP_JSON = "sweep.json"

WAITING, RUNNING, FINISHED, FAILED = "waiting", "running", "finished", "failed"
PRUNED, STOPPED, INTERRUPTED = "pruned", "stopped", "interrupted"
TRIAL_STATES = (WAITING, RUNNING, FINISHED, FAILED, PRUNED, STOPPED, INTERRUPTED)


@dataclass
class TrialRow:
    """How one trial of a sweep stands."""

    # Its place in the sweep, from 0.
    number: int
    # What sets it apart, as typed: ["algorithm.lr=1e-4", "seed=1"].
    overrides: list[str]
    # The same as key and value, numbers as numbers: {"algorithm.lr": 1e-4, "seed": 1}.
    params: dict[str, Any]
    trial_id: str
    # Its run folder, relative to the folder of the sweep.
    folder: str
    # One of TRIAL_STATES.
    state: str = WAITING
    # The exit status of its last process; None before it ended.
    exit_code: int | None = None
    # The sweep's metric; None when it was not measured.
    objective: float | None = None
    # Why it is not compared with the others, such as for other steps; '' when it is. It has no
    # objective then.
    unranked: str = ""
    # Why it did not finish, in one line.
    cause: str = ""
    # Class of the failure (see failures.py), such as `out of memory`; None when none.
    failure: str | None = None
    # Processes started for it in this sweep, retries included.
    tries: int = 0
    # What it waits for, in words, while it waits.
    waits_for: str = ""
    # Places of the GPUs it has among those of the sweep, from 0.
    gpus: list[int] = field(default_factory=list)
    # The same as CUDA_VISIBLE_DEVICES names them, and the cores and the host memory (GiB) it has:
    # when its launcher is killed, the next one counts them as taken as long as it lives.
    gpu_ids: list[str] = field(default_factory=list)
    cores: int = 0
    memory_gib: float = 0.0
    # The resolved layout, as written.
    layout: str = ""
    # The planner's estimate of one step in s; None where it has none.
    estimated_step_s: float | None = None
    # Unix times.
    started: float | None = None
    ended: float | None = None

    def wait(self) -> None:
        """Mark it as asked for: an earlier result counts only once its run reports it again."""
        self.state, self.waits_for, self.objective, self.unranked = WAITING, "", None, ""
        # Otherwise it would be shown as the failure, not as what it waits for.
        self.failure = None

    def let_go(self) -> None:
        """Note that it holds nothing of the machine any more."""
        self.gpus, self.gpu_ids, self.cores, self.memory_gib = [], [], 0, 0.0


@dataclass
class Sweep:
    """A sweep as sweep.json has it."""

    name: str
    sweep_id: str
    # Arguments after `python -m rlagent.train` that made it.
    argv: list[str]
    # The metric that trials are compared by, and which way is better: maximize or minimize.
    metric: str = "eval/success"
    direction: str = "maximize"
    # grid, or the name of the search.
    sweeper: str = "grid"
    # running, finished, failed (a trial failed), stopped (on request), interrupted (Ctrl+C).
    state: str = RUNNING
    # Keys that differ between trials, in the order typed.
    parameters: list[str] = field(default_factory=list)
    machine: str = ""
    pid: int | None = None
    pid_ticks: int | None = None
    host: str = ""
    started: float = 0.0
    updated: float = 0.0
    trials: list[TrialRow] = field(default_factory=list)

    def best(self) -> TrialRow | None:
        """The trial with the best objective among those that finished; None when none has one."""
        done = [t for t in self.trials if t.state == FINISHED and t.objective is not None]
        if not done:
            return None
        sign = 1 if self.direction == "maximize" else -1
        return max(done, key=lambda trial: sign * (trial.objective or 0.0))


REMEDY = "each trial's own folder is whole, and the same sweep command writes it again"


class NewerError(DamagedError):
    """A newer version has written the file: it must not be replaced."""


@functools.cache
def _spec() -> Spec:
    return spec_of(Sweep)


class SweepFolder:
    """Reads and writes the folder of one sweep."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()

    @property
    def name(self) -> str:
        """`sweep-{name}-{sweep id}`."""
        return self.path.name

    @property
    def sweep_json(self) -> Path:
        """The state of the sweep; always whole."""
        return self.path / SWEEP_JSON

    @property
    def report_html(self) -> Path:
        """The report that a browser shows."""
        return self.path / "report.html"

    def exists(self) -> bool:
        """Whether a sweep has been written here."""
        return self.sweep_json.is_file()

    def read(self) -> Sweep:
        """The sweep as last written.

        Raises:
            FileNotFoundError: There is none.
            DamagedError: It holds something else.
            NewerError: A newer version has written it.
        """
        data = read_object(self.sweep_json, REMEDY)
        if data is None:
            raise FileNotFoundError(self.sweep_json)
        problems = validate(data, _spec())[1]
        unknown = [problem.key for problem in problems if problem.message == UNKNOWN]
        if unknown:
            raise NewerError(
                f"{self.sweep_json} was written by a newer version of rlagent, with "
                f"{', '.join(unknown[:3])}: use that version, or move the file away"
            )
        try:
            if problems:
                raise TypeError(str(problems[0]))
            return build(Sweep, data)
        except TypeError as error:
            raise DamagedError(f"{self.sweep_json} is damaged ({error}): {REMEDY}") from None

    def write(self, sweep: Sweep) -> None:
        """Replace sweep.json, atomically."""
        sweep.updated = time.time()
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.sweep_json, json.dumps(asdict(sweep), indent=2) + "\n")

    def run_folder(self, trial: TrialRow) -> RunFolder:
        """The run folder of a trial."""
        return RunFolder((self.path / trial.folder).resolve())

    def driver_alive(self) -> bool:
        """Whether the launcher recorded in sweep.json still runs on this machine."""
        return self.exists() and _is_driven(self.read())


def is_dead(sweep: Sweep) -> bool:
    """Whether a sweep's launcher is gone, as far as this machine can tell: of one on another
    machine nothing is known, so it counts as alive."""
    return sweep.host in ("", socket.gethostname()) and not _is_driven(sweep)


def _is_driven(sweep: Sweep) -> bool:
    if not sweep.pid or sweep.host != socket.gethostname():
        return False
    return process.is_same(sweep.pid, sweep.pid_ticks)
