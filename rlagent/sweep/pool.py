"""Runs the trials of a source side by side on shared resources, until none is left or asked to end.

One thread that waits on processes and signals; once per tick it also reads what running trials
have written. How a sweep is planned and what is said at its end is main.py's.
"""

import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlagent.run.folder import RunFolder
from rlagent.sweep import leash
from rlagent.sweep.child import Child, environment
from rlagent.sweep.display import SweepDisplay
from rlagent.sweep.failures import is_retried
from rlagent.sweep.metric import intermediate, objective
from rlagent.sweep.shares import Ledger, Resources, Share, indices
from rlagent.sweep.signals import SignalQueue
from rlagent.sweep.source import Need, Source, Trial, row_of
from rlagent.sweep.store import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    PRUNED,
    RUNNING,
    STOPPED,
    WAITING,
    Sweep,
    SweepFolder,
    TrialRow,
)

TICK = 0.5
"""Seconds between two looks at what running trials have written."""

EXIT_OK, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130

FORCE = 3
"""The Ctrl+C that is not waited for any more."""

_SAID = {
    1: "stopping: each trial saves a checkpoint first (Ctrl+C again: do not wait for it)",
    2: "stopping without the step under way (Ctrl+C again: kill)",
}


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
        own_gpus: Whether each trial has a Ray of its own that sees its share of the GPUs.
        env: The environment that trials inherit.
        is_done: Whether a trial needs no process, since its run folder holds all that is asked.
    """

    argv: Callable[[Trial], Sequence[str]]
    retries: int = 0
    stop_on_failure: bool = False
    lookahead: int = 1
    least: Need | None = None
    own_gpus: bool = True
    env: Mapping[str, str] | None = None
    is_done: Callable[[Trial, RunFolder], bool] = lambda trial, folder: False


def run_sweep(
    folder: SweepFolder,
    sweep: Sweep,
    source: Source,
    resources: Resources,
    options: Options,
    display: SweepDisplay,
) -> int:
    """Run every trial of a source.

    Args:
        folder: Where sweep.json and the trials' logs are kept; locked by the caller.
        sweep: The sweep, with rows for the trials that are known; changed in place and written
            whenever a trial changes.
        source: Where trials come from.
        resources: What they share.
        options: How they run.
        display: Where progress is shown.

    Returns:
        0 when all finished or were pruned, 1 when any failed or was stopped, 130 when interrupted.
    """
    return _Pool(folder, sweep, source, resources, options, display).run()


class _Pool:
    def __init__(
        self,
        folder: SweepFolder,
        sweep: Sweep,
        source: Source,
        resources: Resources,
        options: Options,
        display: SweepDisplay,
    ) -> None:
        self.folder, self.sweep, self.source = folder, sweep, source
        self.options, self.display = options, display
        self.ledger = Ledger(resources)
        self.waiting: list[Trial] = []
        self.running: dict[int, Child] = {}
        # Trials whose run is driven by another process, by the descriptor that tells its end.
        self.foreign: dict[int, Trial] = {}
        self.rows = {row.trial_id: row for row in sweep.trials}
        # Tries of this launcher: what failed in an earlier one is tried afresh.
        self.tries: dict[str, int] = {}
        # Trials that this launcher brought as far as their run folder: from then on resumed.
        self.begun: set[str] = set()
        # Ids of the trials that the source has given; older rows of the sweep are left alone.
        self.asked: set[str] = set()
        # Ctrl+C so far, and whether a SIGTERM came.
        self.interrupts, self.terminated = 0, False
        self.stopping = ""
        self.selector = selectors.DefaultSelector()
        self.signals = SignalQueue()
        self._changed = True

    def run(self) -> int:
        """Run them all."""
        self.sweep.state, self.sweep.pid = RUNNING, os.getpid()
        self.sweep.pid_ticks, self.sweep.host = _ticks(), socket.gethostname()
        self.sweep.started = self.sweep.started or time.time()
        with self.signals as waking, leash.pipe() as self.reading_end:
            self.selector.register(waking, selectors.EVENT_READ, self.signals.woken)
            try:
                self._loop()
            finally:
                # After a mistake of ours, too, nothing is left running.
                for child in self.running.values():
                    child.kill()
        return self._conclude()

    def _loop(self) -> None:
        while True:
            if not self.stopping:
                self._start_trials()
            if not self.running and (self.stopping or not self.foreign):
                if not self.stopping and (self.waiting or not self.source.exhausted()):
                    raise RuntimeError("trials are left, but none of them can start")
                return
            if self._changed:
                self._write()
            for key, _ in self.selector.select(TICK):
                key.data(key.fd)
            self._pass_signals_on()
            for child in self.running.values():
                self._look(child)
            self.display.update(self.sweep, self.running.values())

    # ---- starting ----

    def _start_trials(self) -> None:
        for trial in list(self.waiting):
            self._start_if_it_fits(trial)
        while len(self.waiting) < self.options.lookahead and not self.stopping:
            if self.options.least and self.ledger.waits_for(self.options.least):
                break
            new = self.source.next()
            if new is None:
                break
            self.waiting.append(new)
            row = self._row(new)
            self.asked.add(row.trial_id)
            row.state, row.waits_for = WAITING, ""
            self._start_if_it_fits(new)

    def _start_if_it_fits(self, trial: Trial) -> None:
        """Start a waiting trial, or say what it waits for."""
        row, run = self._row(trial), self._run_folder(trial)
        if (
            self.stopping
            or any(trial is other for other in self.foreign.values())
            or self._is_driven(trial, run)
        ):
            return
        if self.options.is_done(trial, run):
            self.waiting.remove(trial)
            row.state, row.exit_code, row.cause, row.failure = FINISHED, 0, "", None
            row.waits_for = ""
            self._ended(trial, row)
            return
        share = self.ledger.take(trial.trial_id, trial.need)
        if share is None:
            waits_for = self.ledger.waits_for(trial.need)
            if waits_for != row.waits_for:
                row.waits_for = waits_for
                self._changed = True
            return
        self.waiting.remove(trial)
        self._start(trial, row, run, share)

    def _start(self, trial: Trial, row: TrialRow, run: RunFolder, share: Share) -> None:
        self.tries[trial.trial_id] = self.tries.get(trial.trial_id, 0) + 1
        row.tries += 1
        log = self.folder.path / "logs" / f"{trial.number:03}-{trial.trial_id}.{row.tries}.log"
        child = Child(trial, row, share, run, log)
        env = environment(
            trial,
            share,
            self.folder.path,
            os.environ if self.options.env is None else self.options.env,
            self.options.own_gpus,
        )
        earlier = run.read_metrics()
        argv = [*self.options.argv(trial)]
        if trial.resolved.config.run.fresh and trial.trial_id in self.begun:
            # Else each try would discard what the one before has trained.
            argv.append("run.fresh=false")
        descriptor = child.start(argv, env, self.reading_end)
        self.running[descriptor] = child
        self.selector.register(descriptor, selectors.EVENT_READ, self._process_ended)
        row.state, row.started, row.ended, row.exit_code = RUNNING, child.started, None, None
        row.cause, row.failure, row.waits_for, row.objective = "", None, "", None
        row.gpus = indices(self.ledger.resources.gpus, share)
        self._changed = True
        self.display.started(row, resumed=bool(child.progress.first_step), log=log)
        # A search that is continued hears again what the trial had measured before.
        self._tell(child, earlier)

    def _is_driven(self, trial: Trial, run: RunFolder) -> bool:
        """Whether another process runs this very trial; its end is then waited for.

        Such as one whose launcher was killed, while it saves its checkpoint.
        """
        if not run.driver_alive():
            return False
        pid = int(run.read_status()["pid"])
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        self.foreign[descriptor] = trial
        self.selector.register(descriptor, selectors.EVENT_READ, self._foreign_ended)
        self._row(trial).waits_for = f"process {pid}, which runs it already, to end"
        self._changed = True
        self.display.message(f"trial {trial.number + 1} waits for {self._row(trial).waits_for}")
        return True

    # ---- what happens meanwhile ----

    def _look(self, child: Child) -> None:
        if child.asked or child.pruned:
            child.remind()
        rows = child.look()
        if rows:
            self._tell(child, rows)

    def _tell(self, child: Child, rows: Sequence[dict[str, Any]]) -> None:
        """Tell the source what a trial measured; it may have enough of it."""
        for row in rows:
            found = intermediate(row, self.sweep.metric)
            if found is None or child.pruned or child.asked:
                continue
            if self.source.report(child.trial, *found):
                child.pruned = True
                child.remind()

    def _foreign_ended(self, descriptor: int) -> None:
        self.selector.unregister(descriptor)
        os.close(descriptor)
        self._row(self.foreign.pop(descriptor)).waits_for = ""

    def _process_ended(self, descriptor: int) -> None:
        self.selector.unregister(descriptor)
        os.close(descriptor)
        child = self.running.pop(descriptor)
        trial, row = child.trial, child.row
        self._look(child)
        result = child.end()
        if child.began:
            self.begun.add(trial.trial_id)
        self.ledger.give_back(trial.trial_id)
        row.exit_code, row.cause, row.failure = result.exit_code, result.cause, result.failure
        row.state, row.gpus, row.ended = result.state, [], time.time()
        if child.pruned and result.state == STOPPED:
            row.state, row.cause = PRUNED, "pruned: others did better at the same step"
        elif child.asked and result.state != FINISHED:
            row.state, row.failure = INTERRUPTED, None
            row.cause = result.cause or self.stopping
        again = row.state == FAILED and is_retried(row.failure) and not self.stopping
        if again and self.tries[trial.trial_id] <= self.options.retries:
            self.display.ended(row, again=True)
            row.state = WAITING
            self.waiting.insert(0, trial)
            self._changed = True
            return
        self._ended(trial, row)

    def _ended(self, trial: Trial, row: TrialRow) -> None:
        if row.state in (FINISHED, PRUNED):
            row.objective = objective(self._run_folder(trial), self.sweep.metric)
        self._changed = True
        self.display.ended(row)
        self.source.ended(trial, row)
        if row.state == FAILED and self.options.stop_on_failure and not self.stopping:
            self.stopping = "ended because another trial failed (sweep.on_failure=stop)"
            self.display.message("a trial failed: the others are ended (sweep.on_failure=stop)")
            for child in self.running.values():
                child.asked = True
                child.remind()

    # ---- signals ----

    def _pass_signals_on(self) -> None:
        for number in self.signals.take():
            self.stopping = "interrupted"
            again = number == signal.SIGTERM and self.terminated
            # Each `rlagent stop` sends a SIGTERM: asking twice is no wish to lose a checkpoint.
            self.terminated = self.terminated or number == signal.SIGTERM
            self.interrupts += number == signal.SIGINT
            for child in self.running.values():
                child.asked = True
                if self.interrupts >= FORCE:
                    child.kill()
                elif not again:
                    child.send(number)
            self.display.message(_SAID.get(max(1, self.interrupts), "killed"))

    # ---- rows ----

    def _row(self, trial: Trial) -> TrialRow:
        row = self.rows.get(trial.trial_id)
        if row is None:
            row = row_of(trial, self.folder)
            self.rows[trial.trial_id] = row
            self.sweep.trials.append(row)
        return row

    def _run_folder(self, trial: Trial) -> RunFolder:
        return RunFolder(Path(trial.resolved.config.run.dir) / trial.folder_name)

    def _write(self) -> None:
        self._changed = False
        self.folder.write(self.sweep)

    def _conclude(self) -> int:
        for row in self.sweep.trials:
            if row.state == WAITING:
                row.waits_for = ""
        states = {row.state for row in self.sweep.trials if row.trial_id in self.asked}
        if not self.source.exhausted():
            states.add(WAITING)
        code = EXIT_OK if states <= {FINISHED, PRUNED} else EXIT_FAILED
        self.sweep.state = FINISHED if code == EXIT_OK else FAILED
        if self.interrupts or self.terminated:
            self.sweep.state, code = INTERRUPTED, EXIT_INTERRUPTED
        self.sweep.pid = self.sweep.pid_ticks = None
        self._write()
        return code


def _ticks() -> int | None:
    from rlagent.run.process import start_ticks

    return start_ticks(os.getpid())
