"""One attempt at a training, from its first status to its report: the phases that it takes.

Writes to run folder, screen and mirror; the phases are in phases.py. Whether there is anything to
do is decided in launch.py.
"""

import os
import traceback
from collections.abc import Callable
from typing import Any

from rlagent.base.cause import cause_of
from rlagent.base.endings import EXIT_FAILED
from rlagent.base.redact import redact_command
from rlagent.base.stats import success_fields
from rlagent.config.estimate import preflight_asked
from rlagent.config.resolve import Resolved
from rlagent.launch import phases
from rlagent.launch.record import read_record
from rlagent.launch.stage import Functions, Stage, guarded
from rlagent.launch.watch import start_mirror
from rlagent.records.configuration import config_text
from rlagent.records.display import Display
from rlagent.records.files import write_atomically
from rlagent.records.folder import RunFolder
from rlagent.records.mirror import Mirror
from rlagent.records.summary import LOGICAL, evaluations

RESERVE_BYTES = 256 << 10
"""Kept back in the run folder, so that status and metrics can be written when the disk is full."""


class Driver:
    """One attempt, with everything that it writes and shows.

    Args:
        resolved: What is trained.
        folder: The run.
        display: What is said.
        workflow_func: The workflow as an object; None: the configuration names it.
        judge_func: Likewise.
        command: Makes the command that runs this again, see `launch`.
    """

    def __init__(
        self,
        resolved: Resolved,
        folder: RunFolder,
        display: Display,
        workflow_func: Callable[..., Any] | None,
        judge_func: Callable[..., Any] | None,
        command: Callable[[dict[str, object]], str] | None,
    ) -> None:
        self.stage = Stage(resolved, folder, display, Functions(workflow_func, judge_func))
        self.config = resolved.config
        self.command = command
        self.total_steps = int(self.config.algorithm.total_steps)
        self._reserve = folder.path / ".reserve"
        # The step that the actors agreed on; None: what earlier attempts did still counts.
        self.resumed_from: int | None = None

    def run(self) -> None:
        """Run the attempt and write down how it ended."""
        # Also while the final status is written: the first Ctrl+C then changes nothing.
        with self.stage.logged(), self.stage.signals:
            self._first_status()
            self._conclude(*guarded(self._attempt, self.stage.signals))

    def _attempt(self) -> None:
        """Restore, connect, evaluate, train, evaluate."""
        stage = self.stage
        phases.require_surroundings(stage.resolved.config.workflow.requires)
        restored = phases.restore(stage)
        stage.display.start(restored.said, self.total_steps, restored.step)
        if restored.step >= self.total_steps:
            stage.display.message(f"all {self.total_steps} steps are trained already")
        with phases.connect(stage, restored.tree, self._give_up):
            given = stage.resolved.measuring is not None
            if given and restored.step == 0:
                self._measure_given(0)
            config = phases.configure(stage, restored.tree)
            with phases.actors(stage, config) as (session, step):
                self.resumed_from = step
                if step != restored.step:
                    stage.display.message(f"resuming from the checkpoint of step {step}")
                stage.folder.write_status(state="running", steps_trained=step)
                # Not before: its process would take a core from those that start up.
                stage.watch.mirror = stage.watch.mirror or self._start_mirror()
                evaluates = bool(config.buffer.explorer_input.eval_tasksets)
                if evaluates and step == 0 and config.explorer.eval_on_startup:
                    session.evaluate(0)
                if step == 0 and preflight_asked(stage.resolved):
                    phases.preflight(stage, session)
                trained = phases.train(stage, session, step, self.total_steps)
                if evaluates:
                    session.evaluate(trained)
            if given:
                self._measure_given(trained)

    def _measure_given(self, step: int) -> None:
        """Measure success where no engine runs in training, unless an attempt before has."""
        stage = self.stage
        measured = evaluations(stage.folder.read_metrics("explorer"))
        if any(found.step == step for found in measured):
            return
        if stage.watch.mirror is None:
            self.resumed_from = step
            stage.watch.mirror = self._start_mirror()
        phases.measure_given(stage, step)

    def _conclude(self, state: str, exit_code: int, cause: str) -> None:
        """Write status, report and mirror, and say how it ended."""
        folder = self.stage.folder
        # On a full disk this is the room for the final status.
        self._reserve.unlink(missing_ok=True)
        success = success_fields(folder.read_metrics("explorer"))
        status = folder.write_status(state=state, exit_code=exit_code, cause=cause, **success)
        try:
            self._write_report()
            # A dashboard also shows the run that failed before its first step.
            where = (self.stage.watch.mirror or self._start_mirror()).finish(status)
            self.stage.display.finish(status, folder, self._next_command(state), where)
        finally:
            # Until here the folder is in use: whoever starts the run again waits for this process.
            folder.let_go()

    def _give_up(self, cause: str) -> None:
        self._conclude("failed", EXIT_FAILED, cause)

    def _first_status(self) -> dict[str, Any]:
        folder, resolved = self.stage.folder, self.stage.resolved
        record = read_record(folder) or {}
        folder.point_latest()
        self._reserve.write_bytes(bytes(RESERVE_BYTES))
        write_atomically(folder.config_yaml, config_text(self.config))
        return folder.write_status(
            state="starting",
            exit_code=None,
            cause="",
            steps_asked=self.total_steps,
            attempt=self.stage.attempt.number,
            trial_id=resolved.trial_id,
            command=redact_command(self.command({})) if self.command else None,
            pid=os.getpid(),
            started=self.stage.watch.started,
            experiment=self.config.run.name,
            model=self.config.model.name,
            dataset=self.config.dataset.name,
            layout=str(resolved.layout),
            stamp=LOGICAL if self.config.hardware.logical_gpus else None,
            versions=record.get("versions"),
            lineage=record.get("lineage") or None,
        )

    def _start_mirror(self) -> Mirror:
        stage = self.stage
        return start_mirror(stage.resolved, stage.folder, stage.display, self.resumed_from)

    def _write_report(self) -> None:
        """Write report and picture; that this fails must not fail a finished training."""
        from rlagent.report import write_report

        try:
            write_report(self.stage.folder)
        except Exception as error:
            self.stage.display.message(f"the report could not be written: {cause_of(error)}")
            with self.stage.attempt.driver_log.open("a", encoding="utf-8") as log:
                log.write(traceback.format_exc())

    def _next_command(self, state: str) -> str | None:
        if self.command is None:
            return None
        # Otherwise the command would discard what it is to continue.
        changes: dict[str, object] = {"run.fresh": "false"} if self.config.run.fresh else {}
        if state == "finished":
            # A native YAML, which only a script trains from, has Trinity's names.
            group = "buffer" if self.stage.is_native else "algorithm"
            changes[f"{group}.total_steps"] = self.total_steps * 2
        return self.command(changes)
