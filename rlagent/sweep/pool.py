"""Runs the trials of a source side by side on shared resources, until none is left or asked to end.

One thread that waits on processes and signals; once per tick it also reads what running trials
have written. How a sweep is planned and what is said at its end is main.py's.
"""

import contextlib
import os
import selectors
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlagent.base.errors import ConfigError
from rlagent.records.failures import is_retried
from rlagent.records.folder import RunFolder
from rlagent.records.objective import intermediate, objective, state_when_pruned
from rlagent.records.sweep_store import (
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
from rlagent.sweep import handover, leash
from rlagent.sweep.child import TICK, Child, end_all, environment
from rlagent.sweep.interrupts import SignalQueue
from rlagent.sweep.live_table import SweepDisplay
from rlagent.sweep.neighbours import Neighbours
from rlagent.sweep.options import Done, Options
from rlagent.sweep.orphans import Orphans
from rlagent.sweep.rows import Rows
from rlagent.sweep.shares import Ledger, Resources, Share, indices
from rlagent.sweep.source import Source, Trial

EXIT_OK, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130

FORCE = 3
"""The Ctrl+C that is not waited for any more."""

_SAID = {
    1: "stopping: each trial saves a checkpoint first (Ctrl+C again: do not wait for it)",
    2: "stopping without the step under way (Ctrl+C again: kill)",
}


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
        As for a run: 0 when all finished or were pruned, 1 when any failed or was stopped, or when
        a search suggested nothing legal, 130 after Ctrl+C.
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
        self.rows = Rows(folder, sweep, display)
        self.ledger = Ledger(resources)
        self.selector = selectors.DefaultSelector()
        self.orphans = Orphans(self.ledger, self.selector, self._orphan_ended)
        self.neighbours = Neighbours(folder)
        self.waiting: list[Trial] = []
        self.running: dict[int, Child] = {}
        # Tries of this launcher: what failed in an earlier one is tried afresh.
        self.tries: dict[str, int] = {}
        # Trials that this launcher brought as far as their run folder: from then on resumed.
        self.begun: set[str] = set()
        self.done = Done(options)
        # Ids of the trials that the source has given; older rows of the sweep are left alone.
        self.asked: set[str] = set()
        # Ctrl+C so far, and whether a SIGTERM came.
        self.interrupts, self.terminated = 0, False
        self.stopping = ""
        # Whether another launcher was giving out what is free when a trial could have started.
        self.held_up = False
        self.signals = SignalQueue()

    def run(self) -> int:
        """Run them all."""
        self.rows.begin()
        with self.signals as waking, leash.pipe() as self.reading_end:
            self.selector.register(waking, selectors.EVENT_READ, self.signals.woken)
            try:
                for line in self.orphans.take_over(self.folder, self.sweep.trials):
                    self.display.message(line)
                self._loop()
            finally:
                try:
                    # After a mistake of ours, too, nothing is left running.
                    end_all(self.running, self.selector, self.signals)
                finally:
                    self.orphans.close()
                    self.selector.close()
        return self._conclude()

    def _loop(self) -> None:
        while True:
            if not self.stopping:
                self._start_trials()
            if not self.running:
                if self.stopping or not (self.waiting or not self.source.exhausted()):
                    return
                if not (self.orphans or self.ledger.has_others() or self.held_up):
                    raise RuntimeError("trials are left, but none of them can start")
            self.rows.write()
            for key, _ in self.selector.select(TICK):
                key.data(key.fd)
            self._pass_signals_on()
            if self.orphans.look():
                self.rows.changed = True
            for child in self.running.values():
                self._look(child)
            self.display.update(self.sweep, self.running.values())

    # ---- starting ----

    def _start_trials(self) -> None:
        self.held_up = False
        self._count_others()
        for trial in list(self.waiting):
            self._start_if_it_fits(trial)
        while len(self.waiting) < self.options.lookahead and not self.stopping:
            if self.options.least and self.ledger.waits_for(self.options.least):
                break
            new = self.source.next()
            if new is None:
                break
            self.waiting.append(new)
            row = self.rows.of(new)
            self.asked.add(row.trial_id)
            row.wait()
            self._start_if_it_fits(new)

    def _count_others(self) -> None:
        ours = {child.row.trial_id for child in self.running.values()}
        self.ledger.count_others(self.neighbours.held(ours))

    def _start_if_it_fits(self, trial: Trial) -> None:
        """Start a waiting trial, or say what it waits for."""
        row, run = self.rows.of(trial), self._run_folder(trial)
        if self.stopping or self._is_driven(trial, row, run):
            return
        if self.done.holds(trial, run):
            self.waiting.remove(trial)
            row.state, row.exit_code, row.cause, row.failure = FINISHED, 0, "", None
            row.waits_for = ""
            self._ended(trial, row)
            return
        share = self._take(trial, row)
        if share is None:
            waits_for = self.ledger.waits_for(trial.need)
            if waits_for != row.waits_for:
                row.waits_for = waits_for
                self.rows.changed = True
            return
        self.waiting.remove(trial)
        self._start(trial, row, run, share)

    def _take(self, trial: Trial, row: TrialRow) -> Share | None:
        """Take a share for a trial and note it, where no other launcher can take it meanwhile."""
        if self.ledger.waits_for(trial.need):
            return None
        with self.neighbours.kept_out() as alone:
            if not alone:
                # Soon over: the next tick tries again.
                self.held_up = True
                return None
            # The look that said that it fits may be older than a note of theirs.
            self._count_others()
            share = self.ledger.take(trial.trial_id, trial.need)
            if share is not None:
                row.gpus = indices(self.ledger.resources.gpus, share)
                row.gpu_ids = list(share.gpus)
                row.cores, row.memory_gib = trial.need.cores, trial.need.memory_gib
                self.rows.changed = True
                self.rows.write()
        return share

    def _start(self, trial: Trial, row: TrialRow, run: RunFolder, share: Share) -> None:
        self.tries[trial.trial_id] = self.tries.get(trial.trial_id, 0) + 1
        row.tries += 1
        log = self.folder.path / "logs" / f"{trial.number:03}-{trial.trial_id}.{row.tries}.log"
        # Otherwise each try would discard what the one before has trained.
        fresh = trial.resolved.config.run.fresh and trial.trial_id not in self.begun
        from_scratch = fresh or self.options.is_from_scratch(trial, run)
        child = Child(trial, row, share, run, log, from_scratch)
        env = environment(
            trial,
            share,
            self.folder.path,
            os.environ if self.options.env is None else self.options.env,
            self.options.own_gpus,
        )
        earlier = [] if from_scratch else run.read_metrics()
        argv = [*self.options.argv(trial)]
        more = {"run.fresh": False} if trial.resolved.config.run.fresh and not fresh else {}
        argv += [f"{key}={str(value).lower()}" for key, value in more.items()]
        if self.options.derive is not None:
            # Where it does not run on its share, its process says why.
            with contextlib.suppress(ConfigError):
                resolved = self.options.derive(trial, share.cores, more)
                env |= handover.write(resolved, log.with_suffix(".config"))
        descriptor = child.start(argv, env, self.reading_end)
        self.running[descriptor] = child
        self.selector.register(descriptor, selectors.EVENT_READ, self._process_ended)
        row.state, row.started, row.ended, row.exit_code = RUNNING, child.started, None, None
        row.cause, row.failure, row.waits_for, row.objective = "", None, "", None
        self.rows.changed = True
        self.display.started(row, resumed=bool(child.progress.first_step), log=log)
        # A search that is continued hears again what the trial had measured before.
        self._tell(child, earlier)

    def _is_driven(self, trial: Trial, row: TrialRow, run: RunFolder) -> bool:
        """Whether another process runs this very trial; its end is then waited for.

        Such as one whose launcher was killed, while it saves its checkpoint.
        """
        waits_for = self.orphans.waits_for(row, run, trial.need)
        if waits_for and waits_for != row.waits_for:
            row.waits_for = waits_for
            self.rows.changed = True
        return bool(waits_for)

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

    def _orphan_ended(self, descriptor: int) -> None:
        self.orphans.end(descriptor)
        self.rows.changed = True

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
        row.let_go()
        if child.held_up and not self.stopping:
            # By a process that came between the look at its folder and its own start: no try.
            self.tries[trial.trial_id] -= 1
            self._wait_again(trial, row)
            return
        row.exit_code, row.cause, row.failure = result.exit_code, result.cause, result.failure
        row.state, row.ended = result.state, time.time()
        if child.pruned and result.state == STOPPED:
            row.state = state_when_pruned(child.folder, self.sweep.metric)
            row.cause = "others did better at the same step" if row.state == PRUNED else ""
        elif child.asked and result.state != FINISHED:
            row.state, row.failure = INTERRUPTED if self.interrupts else STOPPED, None
            row.cause = result.cause or self.stopping
        again = row.state == FAILED and is_retried(row.failure) and not self.stopping
        if again and self.tries[trial.trial_id] <= self.options.retries:
            self.display.ended(row, again=True)
            self._wait_again(trial, row)
            return
        self._ended(trial, row)

    def _wait_again(self, trial: Trial, row: TrialRow) -> None:
        row.wait()
        self.waiting.insert(0, trial)
        self.rows.changed = True

    def _ended(self, trial: Trial, row: TrialRow) -> None:
        if row.state in (FINISHED, PRUNED):
            row.objective = objective(self._run_folder(trial), self.sweep.metric)
        self.rows.changed = True
        self.display.ended(row)
        self.source.ended(trial, row)
        if row.state == FAILED:
            self.options.on_failed(trial, row)
        if row.state == FAILED and self.options.stop_on_failure and not self.stopping:
            self.stopping = "ended because another trial failed (sweep.on_failure=stop)"
            self.display.message("a trial failed: the others are ended (sweep.on_failure=stop)")
            for child in self.running.values():
                child.asked = True
                child.remind()

    # ---- signals ----

    def _pass_signals_on(self) -> None:
        for number in self.signals.take():
            interrupted = self.interrupts or number == signal.SIGINT
            self.stopping = "interrupted" if interrupted else "stopped on request"
            again = number == signal.SIGTERM and self.terminated
            # Each `rlagent stop` sends a SIGTERM: a second one must not cost the checkpoint.
            self.terminated = self.terminated or number == signal.SIGTERM
            self.interrupts += number == signal.SIGINT
            for child in self.running.values():
                child.asked = True
                if self.interrupts >= FORCE:
                    child.kill()
                elif not again:
                    child.send(number)
            self.display.message(_SAID.get(max(1, self.interrupts), "killed"))

    def _run_folder(self, trial: Trial) -> RunFolder:
        return RunFolder(Path(trial.resolved.config.run.dir) / trial.folder_name)

    def _conclude(self) -> int:
        for row in self.sweep.trials:
            if row.state == WAITING:
                row.waits_for = ""
        states = {row.state for row in self.sweep.trials if row.trial_id in self.asked}
        if not self.source.exhausted():
            states.add(WAITING)
        illegal, suggested = self.source.illegal()
        if illegal and illegal == suggested:
            # Nothing could run, in this launch or in those that it goes on from.
            states.add(FAILED)
        code = EXIT_OK if states <= {FINISHED, PRUNED} else EXIT_FAILED
        state = FINISHED if code == EXIT_OK else FAILED
        if self.interrupts:
            state, code = INTERRUPTED, EXIT_INTERRUPTED
        elif self.terminated:
            state, code = STOPPED, EXIT_FAILED
        # What is not written down is not done.
        return code if self.rows.conclude(state) else code or EXIT_FAILED
