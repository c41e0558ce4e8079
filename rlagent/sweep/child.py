"""One try of a trial: its process, its environment, its log, and how far its run folder says it is.

When to start, stop and retry one is pool.py's; how an ending is judged failures.py's.
"""

import contextlib
import dataclasses
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlagent.backends.registry import engine_named
from rlagent.base.tail import Tail
from rlagent.machine.resources import PLANNED_FOR, write_machine
from rlagent.records.failures import Ending, ending, is_held_up
from rlagent.records.folder import RunFolder
from rlagent.records.progress import Progress
from rlagent.records.sweep_store import PRUNED, TrialRow
from rlagent.sweep import leash
from rlagent.sweep.interrupts import SignalQueue
from rlagent.sweep.shares import Share
from rlagent.sweep.source import Trial

TAIL_BYTES = 16 << 10
"""How much of a log is read to judge a failure."""

PATIENCE = 120.0
"""Seconds that trials have to save a checkpoint and end when the launcher itself fails."""

TICK = 0.5
"""Seconds between reads of what running trials have written."""

SWEEP = "RLAGENT_SWEEP"
"""The sweep's folder, in the environment of each trial and of what it starts."""


def environment(
    trial: Trial, share: Share, sweep: Path, base: Mapping[str, str], own_gpus: bool
) -> dict[str, str]:
    """Return the environment of a trial.

    Args:
        trial: The trial.
        share: What it has.
        sweep: Folder of the sweep.
        base: The launcher's environment.
        own_gpus: Whether the trial has a Ray of its own that sees its share of real GPUs.
    """
    machine = dataclasses.replace(trial.resolved.machine, cores=share.cores)
    env = {**base, PLANNED_FOR: write_machine(machine), SWEEP: str(sweep), "PYTHONUNBUFFERED": "1"}
    if own_gpus:
        env.pop("RAY_ADDRESS", None)
        if engine_named(trial.resolved.config.hardware.engine).on_gpus:
            env["CUDA_VISIBLE_DEVICES"] = ",".join(share.gpus)
    return env


class Child:
    """A trial that runs.

    Args:
        trial: The trial.
        row: Its row in the sweep; only read here.
        share: What it has of the machine.
        folder: Its run folder.
        log: Where it prints to.
        from_scratch: Whether what its run folder holds is set aside when it starts.
    """

    def __init__(
        self,
        trial: Trial,
        row: TrialRow,
        share: Share,
        folder: RunFolder,
        log: Path,
        from_scratch: bool = False,
    ) -> None:
        self.trial, self.row, self.share = trial, row, share
        self.folder, self.log = folder, log
        self.started = time.time()
        self.pruned = False
        # Whether the launcher asked it to end, other than by pruning.
        self.asked = False
        # Whether it got as far as its run folder, or another process held it; known once it ended.
        self.began = self.held_up = False
        self.process: subprocess.Popen[bytes] | None = None
        steps = trial.resolved.config.algorithm.total_steps
        first = 0 if from_scratch else folder.read_status().get("steps_trained") or 0
        self.progress = Progress(int(steps), first)
        self._tail = Tail.at_end(folder.metrics_jsonl)

    def start(self, argv: Sequence[str], env: Mapping[str, str], reading_end: int) -> int:
        """Start its process in a session of its own; returns a descriptor, readable once it ends.

        Args:
            argv: The command line.
            env: The environment.
            reading_end: Of the pipe whose writing end the launcher alone holds.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                argv,
                env={**env, leash.VARIABLE: str(reading_end)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(reading_end,),
            )
        return os.pidfd_open(self.process.pid)

    def look(self) -> list[dict[str, Any]]:
        """Metric rows that are new since the last look."""
        rows = self._tail.new_rows()
        if self._tail.restarted:
            # Of another run now: the earlier one was set aside.
            self.progress = Progress(self.progress.total_steps)
        self.progress.take(rows)
        return rows

    def send(self, number: int) -> None:
        """Pass a signal on to the driver, which ends what it has started."""
        assert self.process is not None
        self.process.send_signal(number)

    def remind(self) -> None:
        """Leave a stop request in the run folder: a signal can hit a bad moment, and a request made
        before the trial began is dropped when it begins."""
        # It is called again and again: what a full disk refuses now comes later.
        with contextlib.suppress(OSError):
            if self.folder.exists() and not self.folder.stop_requested():
                self.folder.request_stop(PRUNED if self.pruned else "")

    def kill(self) -> None:
        """End everything of its session at once; its Ray ends with its driver."""
        assert self.process is not None
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)

    def end(self) -> Ending:
        """How the trial ended, once its process has."""
        assert self.process is not None
        code, log_tail = self.process.wait(), tail_of(self.log)
        status = self.folder.read_status()
        self.held_up = is_held_up(log_tail)
        # Otherwise left by an earlier try, or written by the process that holds the run folder.
        began = float(status.get("updated") or 0.0) >= self.started
        self.began = began and not self.held_up
        return ending(status if self.began else {}, code, log_tail)


def end_all(
    running: Mapping[int, Child], selector: selectors.BaseSelector, signals: SignalQueue
) -> None:
    """Have trials save a checkpoint and end, and kill those that take too long.

    Args:
        running: The trials, by the descriptor that signals their end.
        selector: Where those are waited for; of no further use.
        signals: A Ctrl+C among them ends the wait.
    """
    left = dict(running)
    try:
        for child in left.values():
            child.send(signal.SIGTERM)
        until = time.monotonic() + PATIENCE
        while left and time.monotonic() < until and signal.SIGINT not in signals.take():
            for child in left.values():
                child.remind()
            for key, _ in selector.select(TICK):
                selector.unregister(key.fileobj)
                left.pop(key.fd, None)
    finally:
        for child in running.values():
            child.kill()


def tail_of(path: Path) -> str:
    """The end of a log; empty when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, _size(path) - TAIL_BYTES))
            return file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
