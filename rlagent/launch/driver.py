"""One attempt at a run, from its first status to its report.

Writes to run folder, screen and mirror; the actors on Ray are in session.py. Whether there is
anything to do is decided in launch.py.
"""

import contextlib
import logging
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlagent.backends.registry import engine_named
from rlagent.base.cause import cause_of
from rlagent.base.endings import (
    EXIT_CONFIG,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    OutOfStepError,
    RunError,
    Stopped,
)
from rlagent.base.errors import ConfigError, UnreachableError
from rlagent.base.startup import Marks, timeline
from rlagent.base.stats import success_fields
from rlagent.config.compose import to_yaml
from rlagent.config.resolve import Resolved
from rlagent.launch.head import Head, LastResort
from rlagent.launch.record import read_record
from rlagent.launch.signals import Signals
from rlagent.launch.standstill import patience
from rlagent.launch.watch import Watch, start_mirror
from rlagent.machine.ray_head import address_to_join
from rlagent.machine.resources import THREADS
from rlagent.planner.fit import parameters
from rlagent.records.display import Display
from rlagent.records.folder import RunFolder, write_atomically
from rlagent.records.mirror import Mirror
from rlagent.records.summary import LOGICAL
from rlagent.trinity import rewind

if TYPE_CHECKING:
    from rlagent.launch.ray_cluster import Cluster
    from rlagent.launch.session import Session

RESERVE_BYTES = 256 << 10
"""Kept back in the run folder, so that status and metrics can be written when the disk is full."""


class Driver:
    """One attempt, with everything that it writes and shows."""

    def __init__(
        self,
        resolved: Resolved,
        folder: RunFolder,
        display: Display,
        workflow_func: Callable[..., Any] | None,
        judge_func: Callable[..., Any] | None,
        command: Callable[[dict[str, object]], str] | None,
    ) -> None:
        self.resolved = resolved
        self.config = resolved.config
        self.folder = folder
        self.display = display
        self.workflow_func = workflow_func
        self.judge_func = judge_func
        self.command = command
        self.total_steps = int(self.config.algorithm.total_steps)
        self.attempt = folder.new_attempt()
        self.signals = Signals()
        self.marks = Marks()
        self.watch = Watch(resolved, folder, self.attempt, display, self.signals)
        self._reserve = folder.path / ".reserve"
        # Of the Ray in use, once there is one.
        self.head: Head | None = None
        self.first_step = 0
        # The same once the actors agree on it; None: what earlier attempts did still counts.
        self.resumed_from: int | None = None

    def run(self) -> None:
        """Run the attempt and write down how it ended."""
        log = _driver_log(self.attempt.driver_log)
        try:
            # Also while the final status is written: the first Ctrl+C then changes nothing.
            with self.signals:
                self._first_status()
                self._conclude(*self._guarded())
        finally:
            logging.getLogger().removeHandler(log)
            log.close()

    def _conclude(self, state: str, exit_code: int, cause: str) -> None:
        """Write status, report and mirror, and say how it ended."""
        # On a full disk this is the room for the final status.
        self._reserve.unlink(missing_ok=True)
        success = success_fields(self.folder.read_metrics("explorer"))
        status = self.folder.write_status(state=state, exit_code=exit_code, cause=cause, **success)
        try:
            self._write_report()
            # A dashboard also shows the run that failed before its first step.
            where = (self.watch.mirror or self._start_mirror()).finish(status)
            self.display.finish(status, self.folder, self._next_command(state), where)
        finally:
            # Until here the folder is in use: whoever starts the run again waits for this process.
            self.folder.let_go()

    def _guarded(self) -> tuple[str, int, str]:
        """Run, and turn every way to end into state, exit code and cause."""
        from rlagent.launch.ray_cluster import restored_environment

        try:
            with restored_environment():
                self._attempt()
        except Stopped as stopped:
            lost = f"; {stopped}" if str(stopped) else ""
            if self.signals.interrupted:
                return "interrupted", EXIT_INTERRUPTED, f"interrupted (Ctrl+C){lost}"
            how = " (SIGHUP: its terminal closed)" if self.signals.hung_up else ""
            return "stopped", EXIT_FAILED, f"stopped on request{how}{lost}"
        except KeyboardInterrupt:
            cause = "interrupted twice; the step under way was not saved"
            return "interrupted", EXIT_INTERRUPTED, cause
        except ConfigError as error:
            logging.getLogger("rlagent").error(traceback.format_exc())
            code = EXIT_FAILED if isinstance(error, UnreachableError) else EXIT_CONFIG
            return "failed", code, "; ".join(str(problem) for problem in error.problems)
        except RunError as error:
            logging.getLogger("rlagent").error(traceback.format_exc())
            return "failed", EXIT_FAILED, str(error)
        # Whatever else goes wrong in the driver ends the run too, with its cause in status.json.
        except Exception as error:
            logging.getLogger("rlagent").error(traceback.format_exc())
            return "failed", EXIT_FAILED, f"driver: {cause_of(error)}"
        return "finished", EXIT_OK, ""

    def _first_status(self) -> dict[str, Any]:
        self.folder.point_latest()
        self._reserve.write_bytes(bytes(RESERVE_BYTES))
        write_atomically(self.folder.config_yaml, to_yaml(self.config))
        resolved = self.resolved
        return self.folder.write_status(
            state="starting",
            exit_code=None,
            cause="",
            steps_asked=self.total_steps,
            attempt=self.attempt.number,
            trial_id=resolved.trial_id,
            pid=os.getpid(),
            started=self.watch.started,
            experiment=self.config.run.name,
            model=self.config.model.name,
            dataset=self.config.dataset.name,
            layout=str(resolved.layout),
            stamp=LOGICAL if self.config.hardware.logical_gpus else None,
            versions=(read_record(self.folder) or {}).get("versions"),
        )

    def _attempt(self) -> None:
        from rlagent.launch.checkpoint_place import elsewhere, place_checkpoints
        from rlagent.launch.hub import models_of, require_models
        from rlagent.machine import surroundings
        from rlagent.trinity import build, native, translate
        from rlagent.trinity.kept_tasks import prepare_data
        from rlagent.trinity.native_data import prepare_native_data

        wrong = surroundings.prepare()
        if wrong:
            raise RunError("; ".join(f"{each.found}: {each.remedy}" for each in wrong))
        choices = [*self.resolved.choices, *self.resolved.warnings]
        tree = translate.to_trinity(self.resolved, self.folder.path, self.attempt.number)
        if getattr(self.resolved.composed, "native", None):
            given = bool(self.workflow_func or self.config.workflow.function)
            made = prepare_native_data(tree["buffer"], self.folder.path, given)
            tree["buffer"], said = made
        else:
            said = prepare_data(self.config.dataset, self.folder.path)
        choices += [line for line in said if line not in choices]
        build.save_yaml(tree, self.folder.trinity_yaml)
        place_checkpoints(self.folder, elsewhere(self.resolved.composed))
        checkpoints = self.folder.checkpoints
        explorer = tree["explorer"].get("name") or "explorer"
        self.first_step = rewind.rewind_explorer(checkpoints, explorer, say=self.display.message)
        if self.first_step:
            choices.append(f"resuming from the checkpoint of step {self.first_step}")
        self.display.start(choices, self.total_steps, self.first_step)
        if self.first_step >= self.total_steps:
            self.display.message(f"all {self.total_steps} steps are trained already")
        if address_to_join(self.config.hardware.ray) is None:
            # In a cluster other nodes download it; they may have network access.
            require_models(models_of(tree))
        self.display.phase("starting Ray")
        with self._ray(tree["ray_namespace"], native.log_environment(tree)):
            config = self._build(tree)
            build.require_key(config)
            arguments = translate.workflow_args(self.config, self.folder.path, self.attempt.number)
            build.attach_workflow(
                config,
                {**arguments, "slots": native.slots(self.resolved)},
                self.workflow_func,
                self.judge_func,
            )
            self._drive(config)

    def _build(self, tree: dict[str, Any]) -> Any:
        """Trinity's Config; what its validators print goes to the log."""
        from rlagent.trinity import build

        with build.saying_to(self.attempt.driver_log):
            return build.build(tree)

    def _drive(self, config: Any) -> None:
        session = self._session(config)
        try:
            try:
                started_at = session.start()
            except OutOfStepError as error:
                # The newest checkpoint is damaged, and the trainer fell back to an older one.
                session.close()
                rewind.rewind_explorer(
                    config.checkpoint_job_dir, config.explorer.name, error.trainer_step
                )
                session = self._session(config)
                started_at = session.start()
            times = {**self.marks.times(), **session.startup}
            ready = {
                "time/startup": time.time() - self.watch.started,
                **timeline(times, self.watch.started),
            }
            self.folder.append_metrics("driver", started_at, ready, attempt=self.attempt.number)
            self.resumed_from = started_at
            if started_at != self.first_step:
                self.display.message(f"resuming from the checkpoint of step {started_at}")
                self.first_step = started_at
            self.folder.write_status(state="running", steps_trained=started_at)
            # Not before: its process would take a core from those that start up.
            self.watch.mirror = self._start_mirror()
            evaluates = bool(config.buffer.explorer_input.eval_tasksets)
            if evaluates and started_at == 0 and config.explorer.eval_on_startup:
                session.evaluate(0)
            trained = max(started_at, self.total_steps)
            if started_at < trained:
                session.train(trained)
            self.watch.tick()
            self.folder.write_status(steps_trained=trained)
            if evaluates:
                session.evaluate(trained)
        finally:
            if not self._head_is_lost():
                session.close()
            # A step may have ended while a stop waited for it.
            self.watch.look()

    def _session(self, config: Any) -> "Session":
        from rlagent.launch.session import Session, stop_grace

        size = parameters(self.config.model.shape)
        return Session(
            config,
            int(self.config.hardware.runners),
            on_tick=self._tick,
            on_phase=self.display.phase,
            grace=lambda: stop_grace(self.watch.longest_step, size),
            stall_timeout=self.config.run.stall_timeout,
            patience=lambda: patience(
                self.config.run.stall_timeout,
                self.watch.longest_wait,
                self.config.workflow.timeout,
            ),
            logs=self.attempt.logs,
        )

    def _tick(self) -> bool:
        """As `Watch.tick`; also raises LostRayError."""
        if self.head is not None:
            self.head.check()
        return self.watch.tick()

    def _head_is_lost(self) -> bool:
        return self.head is not None and bool(self.head.lost())

    @contextlib.contextmanager
    def _ray(self, namespace: str, environment: dict[str, str]) -> Iterator[None]:
        from rlagent.launch import ray_cluster
        from rlagent.upstream import ray as ray_patches

        threads = str(self.config.hardware.threads)
        on_gpus = engine_named(self.config.hardware.engine).on_gpus
        # Ray's processes start while this one imports what checks the configuration.
        importing = import_validators_beside()
        with ray_patches.keeping_sigterm.apply():
            cluster = ray_cluster.connect(
                self.config.hardware,
                namespace=namespace,
                env={
                    THREADS: threads,
                    "PYTHONPATH": ray_cluster.python_path(),
                    "TRINITY_LOG_DIR": str(self.attempt.logs),
                    **environment,
                    **ray_cluster.colocated_env(self.resolved.layout, on_gpus),
                },
                gpus=ray_cluster.gpus_to_offer(self.resolved.layout, on_gpus),
                cpus=max(4, self.resolved.machine.cores),
                say=self._start_ray_again,
            )
        self.head = cluster.head
        with LastResort(cluster.head, lambda cause: self._give_up(cluster, cause)) as resort:
            yield from self._within(cluster, importing, resort)

    def _within(
        self, cluster: "Cluster", importing: threading.Thread, resort: LastResort
    ) -> Iterator[None]:
        from rlagent.launch import ray_cluster

        try:
            # transformers' lazy imports are not thread-safe.
            importing.join()
            self.marks.mark("ray")
            self.display.message(cluster.words())
            # A stop may have been asked for meanwhile.
            self.watch.tick()
            yield
        finally:
            if not self._head_is_lost():
                # However long a busy machine takes to end Ray, the run has not lost it.
                resort.disarm()
            if not cluster.found:
                ray_cluster.leave(cluster)

    def _give_up(self, cluster: "Cluster", cause: str) -> None:
        """End what a lost Ray has started, and the run, whose main thread waits for that Ray."""
        from rlagent.launch import ray_cluster

        ray_cluster.end_lost(cluster)
        self._conclude("failed", EXIT_FAILED, cause)

    def _start_ray_again(self, words: str) -> None:
        """Say that Ray gets a second try, unless a stop was asked for in the first."""
        self.watch.tick()
        self.display.message(words)

    def _start_mirror(self) -> Mirror:
        return start_mirror(self.resolved, self.folder, self.display, self.resumed_from)

    def _write_report(self) -> None:
        """Write report and picture; that this fails must not fail a finished training."""
        from rlagent.report import write_report

        try:
            write_report(self.folder)
        except Exception as error:
            self.display.message(f"the report could not be written: {cause_of(error)}")
            with self.attempt.driver_log.open("a", encoding="utf-8") as log:
                log.write(traceback.format_exc())

    def _next_command(self, state: str) -> str | None:
        if self.command is None:
            return None
        # Otherwise the command would discard what it is to continue.
        changes: dict[str, object] = {"run.fresh": "false"} if self.config.run.fresh else {}
        if state == "finished":
            # A native YAML, which only a script trains from, has Trinity's names.
            native = bool(getattr(self.resolved.composed, "native", None))
            group = "buffer" if native else "algorithm"
            changes[f"{group}.total_steps"] = self.total_steps * 2
        return self.command(changes)


def import_validators_beside() -> threading.Thread:
    """Start a thread that imports what checks Trinity's configuration."""
    # Whole, and first: parts of Ray import each other, and of two threads one would find a half.
    import ray  # noqa: F401

    importing = threading.Thread(target=_import_validators, daemon=True)
    importing.start()
    return importing


def _import_validators() -> None:
    # Not the validators' own module: what they say goes to where the screen was when it came.
    import trinity.algorithm
    import trinity.common.patch
    import trinity.utils.lora_utils  # noqa: F401

    from rlagent.upstream import trinity_imports

    trinity_imports.without_services.apply()


def _driver_log(path: Path) -> logging.Handler:
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    logging.getLogger().addHandler(handler)
    return handler
