"""Runs a training run from a resolved configuration to its report.

Here are the decisions around the attempt (new, resume, done) and the shell that feeds run folder,
screen and mirror; the attempt itself is in session.py.
"""

import contextlib
import dataclasses
import fcntl
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from rlagent.config.compose import to_mapping, to_yaml
from rlagent.config.errors import ConfigError
from rlagent.config.resolve import Resolved
from rlagent.run.display import Display, make_display
from rlagent.run.folder import RunFolder, write_atomically
from rlagent.run.mirror import Mirror, RunInfo, make_mirror
from rlagent.run.tail import Tail
from rlagent.trinity import decide, rewind, where
from rlagent.trinity.record import make_record, read_record, write_record
from rlagent.trinity.signals import Signals

if TYPE_CHECKING:
    from rlagent.trinity.session import Session

RESERVE_BYTES = 256 << 10
"""Kept back in the run folder, so that status and metrics can be written when the disk is full."""

EXIT_OK, EXIT_FAILED, EXIT_CONFIG, EXIT_INTERRUPTED = 0, 1, 2, 130


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    # finished, failed, stopped or interrupted.
    state: str
    # 0 the asked steps were trained and saved; 1 failed or stopped; 2 wrong configuration;
    # 130 interrupted.
    exit_code: int
    # Why, in one line; empty when it finished.
    cause: str
    # Where everything is.
    folder: Path
    steps_trained: int = 0
    # Held-out success in [0, 1]; None when it was not measured.
    success_before: float | None = None
    success_after: float | None = None


def launch(
    resolved: Resolved,
    workflow_func: Callable[..., Any] | None = None,
    judge_func: Callable[..., Any] | None = None,
    command: Callable[[dict[str, object]], str] | None = None,
) -> Outcome:
    """Train, or resume, or say that there is nothing to do.

    Args:
        resolved: From `rlagent.config.resolve.resolve`.
        workflow_func: The workflow as an object; None: `workflow.function` names it.
        judge_func: Likewise.
        command: Makes the command that runs this again with further overrides, for the closing
            words; None: it takes none.

    Returns:
        How it ended; never raises for a failed run.

    Raises:
        ConfigError: The dataset or Trinity's own checks refuse the configuration.
    """
    config = resolved.config
    display = make_display(config.run.display)
    folder = RunFolder(Path(config.run.dir) / f"{config.run.name}-{resolved.trial_id}")
    try:
        return _launch_in(folder, resolved, display, workflow_func, judge_func, command)
    except OSError as error:
        # Inside a run every error ends in status.json; here not even that can be written.
        cause = f"the run folder {folder.path} cannot be used: {error}"
        print(cause, file=sys.stderr)
        return Outcome("failed", EXIT_FAILED, cause, folder.path)


def _launch_in(
    folder: RunFolder,
    resolved: Resolved,
    display: Display,
    workflow_func: Callable[..., Any] | None,
    judge_func: Callable[..., Any] | None,
    command: Callable[[dict[str, object]], str] | None,
) -> Outcome:
    config = resolved.config
    folder.path.mkdir(parents=True, exist_ok=True)
    with _locked(folder) as lock:
        if lock is None:
            cause = (
                f"{folder.path} is in use by a running run; `rlagent stop {folder.name}` ends it"
            )
            print(cause, file=sys.stderr)
            return Outcome("failed", EXIT_FAILED, cause, folder.path)
        record = make_record(resolved, workflow_func, judge_func)
        decision = decide.decide(
            status=folder.read_status(),
            old=read_record(folder),
            new=record,
            total_steps=int(config.algorithm.total_steps),
            fresh=config.run.fresh,
        )
        if decision.action is decide.Action.REFUSE:
            print(decision.words, file=sys.stderr)
            return Outcome("failed", EXIT_FAILED, decision.words, folder.path)
        if decision.words:
            display.message(decision.words)
        if decision.action is decide.Action.NOTHING:
            return _outcome_of(folder)
        if decision.action is decide.Action.ANEW:
            _set_aside(folder)
        if read_record(folder) is None:
            write_record(folder, record)
        return _Driver(resolved, folder, display, workflow_func, judge_func, command).run()


class _Driver:
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
        self.mirror: Mirror | None = None
        self._reserve = folder.path / ".reserve"
        self.first_step = 0
        # The same once the actors agree on it; None: what earlier attempts did still counts.
        self.resumed_from: int | None = None
        self._tail = Tail(folder.metrics_jsonl, _size(folder.metrics_jsonl))
        self._started = time.time()
        self._last_step_at: float | None = None
        self._tokens = 0.0
        self._activity = 0

    def run(self) -> Outcome:
        """Run the attempt and write down how it ended."""
        log = _driver_log(self.attempt.driver_log)
        try:
            # Also while the last words are written: the first Ctrl+C then changes nothing.
            with self.signals:
                self._first_status()
                self._conclude(*self._guarded())
        finally:
            logging.getLogger().removeHandler(log)
            log.close()
        return _outcome_of(self.folder)

    def _conclude(self, state: str, exit_code: int, cause: str) -> None:
        """Write status, report and mirror, and say how it ended."""
        # On a full disk this is the room for the last words.
        self._reserve.unlink(missing_ok=True)
        status = self.folder.write_status(
            state=state, exit_code=exit_code, cause=cause, pid=None, **self._success()
        )
        self._write_report()
        # A dashboard also shows the run that failed before its first step.
        where = (self.mirror or self._start_mirror()).finish(status)
        self.display.finish(status, self.folder, self._next_command(state), where)

    def _guarded(self) -> tuple[str, int, str]:
        """Run, and turn every way to end into state, exit code and cause."""
        from rlagent.trinity.endings import RunError, Stopped, one_line

        try:
            self._attempt()
        except Stopped as stopped:
            lost = f"; {stopped}" if str(stopped) else ""
            if self.signals.interrupted:
                return "interrupted", EXIT_INTERRUPTED, f"interrupted (Ctrl+C){lost}"
            return "stopped", EXIT_FAILED, f"stopped on request{lost}"
        except KeyboardInterrupt:
            cause = "interrupted twice; the step under way was not saved"
            return "interrupted", EXIT_INTERRUPTED, cause
        except ConfigError as error:
            logging.getLogger("rlagent").error(traceback.format_exc())
            return "failed", EXIT_CONFIG, "; ".join(str(problem) for problem in error.problems)
        except RunError as error:
            logging.getLogger("rlagent").error(traceback.format_exc())
            return "failed", EXIT_FAILED, str(error)
        # Whatever else goes wrong in the driver ends the run too, with its cause in status.json.
        except Exception as error:
            logging.getLogger("rlagent").error(traceback.format_exc())
            return "failed", EXIT_FAILED, f"driver: {one_line(error)}"
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
            started=self._started,
            experiment=self.config.run.name,
            model=self.config.model.name,
            dataset=self.config.dataset.name,
            layout=str(resolved.layout),
            versions=(read_record(self.folder) or {}).get("versions"),
        )

    def _attempt(self) -> None:
        from rlagent.trinity import build, translate
        from rlagent.trinity.data import prepare_data

        choices = [*self.resolved.choices, *self.resolved.warnings]
        prepare_data(self.config.dataset, self.folder.path)
        tree = translate.to_trinity(self.resolved, self.folder.path, self.attempt.number)
        build.save_yaml(tree, self.folder.trinity_yaml)
        checkpoints = self.folder.checkpoints
        self.first_step = rewind.rewind_explorer(checkpoints, "explorer")
        if self.first_step:
            choices.append(f"resuming from the checkpoint of step {self.first_step}")
        self.display.start(choices, self.total_steps, self.first_step)
        if self.first_step >= self.total_steps:
            self.display.message(f"all {self.total_steps} steps are trained already")
        self.display.phase("starting Ray")
        with self._ray(tree["ray_namespace"]):
            config = self._build(tree)
            build.attach_workflow(
                config,
                translate.workflow_args(self.config, self.folder.path, self.attempt.number),
                self.workflow_func,
                self.judge_func,
            )
            self._drive(config)

    def _build(self, tree: dict[str, Any]) -> Any:
        """Trinity's Config; what its validators print goes to the log."""
        from rlagent.trinity import build

        with (
            self.attempt.driver_log.open("a", encoding="utf-8") as log,
            contextlib.redirect_stdout(log),
        ):
            return build.build(tree)

    def _drive(self, config: Any) -> None:
        from rlagent.trinity.endings import OutOfStepError, RunError

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
            ready = {"time/startup": time.time() - self._started}
            self.folder.append_metrics("driver", started_at, ready, attempt=self.attempt.number)
            self.resumed_from = started_at
            if started_at != self.first_step:
                self.display.message(f"resuming from the checkpoint of step {started_at}")
                self.first_step = started_at
            self.folder.write_status(state="running", steps_trained=started_at)
            # Not before: its process would take a core from those that start up.
            self.mirror = self._start_mirror()
            evaluates = bool(config.buffer.explorer_input.eval_tasksets)
            if evaluates and started_at == 0:
                session.evaluate(0)
            trained = session.train() if started_at < self.total_steps else started_at
            self._tick()
            if trained < self.total_steps:
                raise RunError(
                    f"{trained} of the {self.total_steps} asked steps were trained; "
                    "the tasks ended before"
                )
            self.folder.write_status(steps_trained=trained)
            if evaluates:
                session.evaluate(trained)
        finally:
            session.close()
            # A step may have ended while a stop waited for it.
            self._look()

    def _session(self, config: Any) -> "Session":
        from rlagent.trinity.session import Session

        return Session(
            config,
            int(self.config.hardware.runners),
            on_tick=self._tick,
            on_phase=self.display.phase,
            stall_timeout=self.config.run.stall_timeout,
        )

    @contextlib.contextmanager
    def _ray(self, namespace: str) -> Iterator[None]:
        import ray

        from rlagent.trinity import ray_cluster

        threads = str(self.config.hardware.threads)
        # Ray's processes start while this one imports torch and Trinity.
        importing = threading.Thread(target=_import_session, daemon=True)
        importing.start()
        cluster = ray_cluster.connect(
            self.config.hardware,
            namespace=namespace,
            env={
                "RLAGENT_THREADS": threads,
                "PYTHONPATH": ray_cluster.python_path(),
                "TRINITY_LOG_DIR": str(self.attempt.logs),
                **ray_cluster.colocated_env(self.resolved.layout, self.config.hardware.engine),
            },
            gpus=ray_cluster.gpus_to_offer(self.resolved.layout, self.config.hardware.engine),
            cpus=max(4, self.resolved.machine.cores),
        )
        # transformers' lazy imports do not bear two threads.
        importing.join()
        # ray.init puts a handler of its own in the place of ours.
        self.signals.install()
        self.display.message(cluster.words())
        try:
            yield
        finally:
            if not cluster.found:
                ray.shutdown()

    def _start_mirror(self) -> Mirror:
        config = self.config
        mirror = make_mirror(config.monitor, self.folder, self.display.message)
        mirror.start(
            RunInfo(
                trial_id=self.resolved.trial_id,
                name=self.folder.name,
                group=config.monitor.group or config.run.name,
                tags=(
                    config.run.name,
                    config.model.name,
                    str(self.resolved.layout),
                    *config.monitor.tags,
                ),
                config=to_mapping(config),
                derived={
                    **dataclasses.asdict(self.resolved.batch),
                    **dataclasses.asdict(self.resolved.layout),
                },
                resumed_from=self.resumed_from,
                system_stats=bool(self.resolved.machine.gpus),
            )
        )
        return mirror

    def _tick(self) -> bool:
        """Look at what the actors wrote; returns whether there was anything new.

        Raises:
            Stopped: Someone asked the run to stop.
        """
        from rlagent.trinity.endings import Stopped

        rows = self._look()
        asked = self.signals.received or self.folder.stop_requested()
        if asked and not self.signals.stopping:
            self.signals.stopping = True
            raise Stopped
        activity = _size(self.folder.trajectories_jsonl)
        moved = bool(rows) or activity != self._activity
        self._activity = activity
        return moved

    def _look(self) -> list[dict[str, Any]]:
        """Take the rows that the actors wrote since the last look, and show them."""
        rows = self._tail.new_rows()
        for row in rows:
            if row["role"] == "trainer":
                self._step_trained(row)
            elif row["role"] == "explorer":
                self._step_explored(row)
        if rows:
            shown = [*rows, *self._tail.new_rows()]
            self.display.update(shown)
            if self.mirror:
                self.mirror.log(shown)
        return rows

    def _step_trained(self, row: dict[str, Any]) -> None:
        """Note the speed of a step in a row of the driver's own, and how far the run is."""
        step, now, metrics = row["step"], row["time"], row["metrics"]
        ours: dict[str, float] = {}
        if self._last_step_at is None:
            ours["time/start_to_first_step"] = now - self._started
        else:
            seconds = now - self._last_step_at
            ours["time/step"] = seconds
            tokens = metrics.get("tokens/trained")
            if tokens and seconds > 0:
                ours["tokens/per_second"] = tokens / seconds
        ours |= where.trainer_shares(metrics, self.resolved)
        self._last_step_at = now
        self.folder.append_metrics("driver", step, ours, attempt=self.attempt.number)
        self.folder.write_status(steps_trained=step)

    def _step_explored(self, row: dict[str, Any]) -> None:
        """Note where the time of an explored step went."""
        shares = where.rollout_shares(row["metrics"], self.resolved)
        if shares:
            self.folder.append_metrics("driver", row["step"], shares, attempt=self.attempt.number)

    def _success(self) -> dict[str, Any]:
        """Fields of status.json about held-out success, from all attempts."""
        rows = [
            row for row in self.folder.read_metrics("explorer") if "eval/success" in row["metrics"]
        ]
        fields: dict[str, Any] = {}
        for row in rows:
            metrics = row["metrics"]
            edge = "before" if row["step"] == 0 else "after"
            fields[f"success_{edge}"] = metrics["eval/success"]
            fields[f"valid_{edge}"] = metrics.get("eval/valid")
        return fields

    def _write_report(self) -> None:
        """Write report and picture; that this fails must not fail a finished training."""
        from rlagent.report import write_report

        try:
            write_report(self.folder)
        except Exception as error:
            line = f"the report could not be written: {type(error).__name__}: {error}"
            self.display.message(line)
            with self.attempt.driver_log.open("a", encoding="utf-8") as log:
                log.write(traceback.format_exc())

    def _next_command(self, state: str) -> str | None:
        if self.command is None:
            return None
        if state != "finished":
            return self.command({})
        return self.command({"algorithm.total_steps": self.total_steps * 2})


def _import_session() -> None:
    import rlagent.trinity.session  # noqa: F401


def _outcome_of(folder: RunFolder) -> Outcome:
    status = folder.read_status()
    return Outcome(
        state=status["state"],
        exit_code=status["exit_code"],
        cause=status.get("cause") or "",
        folder=folder.path,
        steps_trained=status.get("steps_trained") or 0,
        success_before=status.get("success_before"),
        success_after=status.get("success_after"),
    )


@contextlib.contextmanager
def _locked(folder: RunFolder) -> Iterator[IO[str] | None]:
    """Hold the run folder for this process; None when another one does."""
    with (folder.path / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        yield file


def _set_aside(folder: RunFolder) -> None:
    """Move what the folder holds into `{name}.N` beside it, so that nothing is ever lost."""
    number = 1
    while (aside := folder.path.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    aside.mkdir()
    for item in folder.path.iterdir():
        if item.name != ".lock":
            item.rename(aside / item.name)


def _driver_log(path: Path) -> logging.Handler:
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    logging.getLogger().addHandler(handler)
    return handler


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
