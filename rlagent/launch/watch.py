"""What the driver sees of its actors: rows that they append to the run folder.

Shows them, hands them to the mirror, and notes how far the run is and how fast; what the run does
is left to driver.py.
"""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rlagent.base.endings import RunError, Stopped
from rlagent.base.measures import WORKFLOW, workflow_metrics
from rlagent.base.signs import Signs
from rlagent.base.tail import Tail
from rlagent.base.texts import shown
from rlagent.config.compose import to_mapping
from rlagent.config.resolve import Resolved
from rlagent.launch import where
from rlagent.launch.record import lineage_of
from rlagent.launch.signals import Signals
from rlagent.records import warnings
from rlagent.records.display import Display
from rlagent.records.folder import Attempt, RunFolder
from rlagent.records.mirror import Mirror, RunInfo, make_mirror
from rlagent.records.parents import parent_name
from rlagent.records.rollouts.keeper import Keeper


class Watch:
    """Follows one attempt through its run folder.

    Args:
        resolved: What runs.
        folder: The run.
        attempt: The attempt under way.
        display: Called with every new row.
        signals: Ctrl+C and SIGTERM.
    """

    def __init__(
        self,
        resolved: Resolved,
        folder: RunFolder,
        attempt: Attempt,
        display: Display,
        signals: Signals,
    ) -> None:
        self.resolved = resolved
        self.folder = folder
        self.attempt = attempt
        self.display = display
        self.signals = signals
        # Called with every new row too, once there is one.
        self.mirror: Mirror | None = None
        self.started = time.time()
        # Seconds of the longest step trained in this attempt; 0 before the second one.
        self.longest_step = 0.0
        # The same of the longest step or evaluation.
        self.longest_wait = 0.0
        self._tail = Tail(folder.metrics_jsonl, _size(folder.metrics_jsonl))
        self._warnings = Tail(warnings.file_of(attempt.logs))
        self._warned: set[str] = set()
        self._last_step_at: float | None = None
        self._evaluation = 0.0
        self._keeper = Keeper(folder.rollouts, resolved.config.run.rollouts_gib)
        self._activity = 0
        self._other_names: set[str] = set()
        self._signs = Signs(resolved.config.algorithm.skip_limit)

    def tick(self) -> bool:
        """Read what the actors wrote; returns whether there was anything new.

        Raises:
            Stopped: Someone asked the run to stop.
            RunError: The gradient was not finite for too long.
        """
        rows = self.look()
        if ending := self._signs.ending:
            raise RunError(f"trainer: {ending}")
        asked = self.signals.received or self.folder.stop_requested()
        if asked and not self.signals.stopping:
            self.signals.stopping = True
            raise Stopped
        activity = self.folder.rollouts.activity()
        moved = bool(rows) or activity != self._activity
        self._activity = activity
        return moved

    def look(self) -> list[dict[str, Any]]:
        """Take the rows that the actors wrote since the last look, and show them.

        Of the same warning only the first is said.
        """
        for warning in self._warnings.new_rows():
            line = shown(str(warning["warning"]))
            if line not in self._warned:
                self._warned.add(line)
                self.display.message(f"warning: {line}")
        for line in self._keeper.news():
            self.display.message(line)
        rows = self._tail.new_rows()
        for row in rows:
            for line in self._signs.take(row):
                self.display.message(f"warning: {line}")
            # What is measured before the first step trains none.
            if row["role"] == "trainer" and row["step"] > 0:
                self.step_trained(row)
            elif row["role"] == "explorer":
                self.step_explored(row)
                self._say_other_names(row["metrics"])
        if rows:
            every = [*rows, *self._tail.new_rows()]
            self.display.update(every)
            if self.mirror:
                self.mirror.log(every)
        return rows

    def step_trained(self, row: dict[str, Any]) -> None:
        """Note the speed of a step in a row of the driver's own, and how far the run is."""
        step, now, metrics = row["step"], row["time"], row["metrics"]
        ours: dict[str, float] = {}
        if self._last_step_at is None:
            ours["time/start_to_first_step"] = now - self.started
        else:
            seconds = now - self._last_step_at
            ours["time/step"] = seconds
            self.longest_step = max(self.longest_step, seconds)
            self.longest_wait = max(self.longest_wait, self.longest_step, self._evaluation)
            tokens = metrics.get("tokens/trained")
            if tokens and seconds > 0:
                ours["tokens/per_second"] = tokens / seconds
        ours |= where.trainer_shares(metrics, self.resolved)
        self._last_step_at = now
        self.folder.append_metrics("driver", step, ours, attempt=self.attempt.number)
        self.folder.write_status(steps_trained=step)

    def step_explored(self, row: dict[str, Any]) -> None:
        """Note where the time of an explored step went, and have its rollouts packed."""
        self._keeper.step_ended(row["step"])
        self._evaluation = max(self._evaluation, row["metrics"].get("time/eval", 0.0))
        shares = where.rollout_shares(row["metrics"], self.resolved)
        if shares:
            self.folder.append_metrics("driver", row["step"], shares, attempt=self.attempt.number)

    def close(self) -> None:
        """Have the last rollouts packed, and wait for it."""
        for line in self._keeper.close():
            self.display.message(line)

    def _say_other_names(self, metrics: dict[str, float]) -> None:
        """Say once which of the workflow's metrics are written under another name."""
        own = {**workflow_metrics(metrics, "rollout"), **workflow_metrics(metrics, "eval")}
        for name in own:
            if name.startswith(WORKFLOW) and name not in self._other_names:
                self._other_names.add(name)
                theirs = name.removeprefix(WORKFLOW)
                self.display.message(
                    f"the workflow's own metric {theirs} is written as {name}: {theirs} is "
                    "what rlagent measures"
                )


def start_mirror(
    resolved: Resolved, folder: RunFolder, display: Display, resumed_from: int | None
) -> Mirror:
    """Begin to mirror the current attempt; `resumed_from` as in `RunInfo`."""
    mirror = make_mirror(resolved.config.monitor, folder, display.message)
    mirror.start(run_info(resolved, folder, resumed_from))
    return mirror


def run_info(resolved: Resolved, folder: RunFolder, resumed_from: int | None) -> RunInfo:
    """Return what a dashboard shows of a run; `resumed_from` as in `RunInfo`."""
    config = resolved.config
    return RunInfo(
        trial_id=resolved.trial_id,
        name=config.monitor.name or folder.name,
        group=config.monitor.group or config.run.name,
        tags=(config.run.name, config.model.name, str(resolved.layout), *config.monitor.tags),
        config={**to_mapping(config), **_line(resolved)},
        derived={**asdict(resolved.batch), **asdict(resolved.layout)},
        resumed_from=resumed_from,
        system_stats=bool(resolved.machine.gpus),
        metric=config.sweep.metric,
    )


def _line(resolved: Resolved) -> dict[str, Any]:
    """The checkpoints that the model comes from, where a dashboard can filter by them."""
    line = lineage_of(resolved)
    return {"lineage": line, "parent": parent_name(line)} if line else {}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
