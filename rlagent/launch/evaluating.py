"""An evaluation: checkpoints of a run, or a model, measured on held-out tasks without a trainer.

Takes the phases that a training takes, but for training. What the rollouts come to is
records/evaluations.py's; what is said of it records/evaluation_text.py's.
"""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlagent.base.endings import EXIT_CONFIG, EXIT_FAILED, EXIT_OK
from rlagent.base.errors import ConfigError, Problem, raise_if_any
from rlagent.base.lock import locked
from rlagent.base.paths import whole_path
from rlagent.base.redact import redact_command
from rlagent.config.chat_templates import template_digest
from rlagent.config.resolve import Resolved
from rlagent.config.schema import AUTO
from rlagent.launch import phases
from rlagent.launch.record import ROWS, functions_of, rows_source, source_record
from rlagent.launch.stage import Stage, guarded
from rlagent.launch.watch import start_mirror
from rlagent.records.checkpoints import CheckpointError, Kept, find_checkpoint, kept_checkpoints
from rlagent.records.configuration import config_text, read_config
from rlagent.records.display import Display, make_display
from rlagent.records.evaluation_text import closing_lines
from rlagent.records.evaluations import (
    EVALUATIONS,
    EvaluationFolder,
    dashboard_values,
    measures,
)
from rlagent.records.files import move_contents_aside, write_atomically
from rlagent.records.folder import RunFolder
from rlagent.report.evaluation_page import evaluation_page
from rlagent.serving.trained import Trained

ROLE = "evaluate"
"""Of the rows of a run's metrics that hold what was measured afterwards."""

SAID = ("hardware:", "model:", "dataset:", "GPU:", "layout:", "tool calls:")
"""Choices that an evaluation follows; the others are for training."""

ALL = "all"
"""Every checkpoint that is kept."""


@dataclass(frozen=True)
class Measured:
    """How an evaluation ended.

    Args:
        code: The exit status.
        found: What was measured of each checkpoint that was asked for, as in results.json.
        ended_on_request: Whether somebody stopped it.
    """

    code: int
    found: list[dict[str, Any]]
    ended_on_request: bool = False


def measure(
    resolved: Resolved,
    asked: Sequence[Kept],
    run: RunFolder | None,
    own: str | None,
    command: str,
) -> Measured:
    """Measure checkpoints, as far as they are not measured yet, and say what it came to.

    Args:
        resolved: Resolved for measuring; with a run, over its configuration.
        asked: As `checkpoints_asked` finds them.
        run: Whose checkpoints are measured; None: the configured model.
        own: Folder of the run's own held-out tasks in its data; None: others are asked.
        command: Recorded with the results.

    Raises:
        ConfigError: Other results have that name.
    """
    config = resolved.config
    depends = identity(resolved, run is None)
    folder = EvaluationFolder(_place(resolved, run, depends))
    display = make_display("none" if config.run.display == "none" else "plain")
    folder.make()
    with locked(folder.path) as lock:
        if lock is None:
            display.message(f"{folder.path} is in use by an evaluation")
            return Measured(EXIT_FAILED, [])
        if config.evaluate.fresh:
            _set_aside(folder)
        results = folder.read_results()
        if results and results["depends"] != depends:
            remedy = "give another name, or measure again with evaluate.fresh=true"
            what = "holds what was measured otherwise"
            raise ConfigError([Problem("evaluate.name", config.evaluate.name, what, remedy)])
        if not results:
            results = {
                "run": run.name if run else None,
                "model": config.model.name,
                "dataset": config.dataset.name,
                "depends": depends,
                "measured": [],
            }
            # Whoever goes on knows what the rollouts there are of.
            folder.write_results(results)
        results["command"] = redact_command(command)
        there = {each["step"] for each in results["measured"]}
        missing = [kept for kept in asked if kept.step not in there]
        code = EXIT_OK
        if missing:
            attempt = Evaluating(resolved, folder, display, run, own, results)
            code = attempt.run(missing)
        shown = [each for each in folder.measured() if each["step"] in {k.step for k in asked}]
        if shown and code == EXIT_OK and not _is_drawn(folder):
            # It was cut off after its results, or is of a version that drew no picture.
            _draw(folder)
        for line in closing_lines(folder, shown) if shown else ():
            display.message(line)
        return Measured(code, shown, code != EXIT_OK and _was_asked_to_end(folder))


def checkpoints_asked(run: RunFolder | None, names: str) -> list[Kept]:
    """The checkpoints that a text names, each once, in the order of their steps.

    Raises:
        ConfigError: With all that are not there or damaged.
    """
    if run is None:
        return [Kept(0, None)]
    found: dict[int, Kept] = {}
    problems = []
    wanted = [name.strip() for name in names.split(",")]
    if ALL in wanted:
        every = [str(kept.step) for kept in kept_checkpoints(run) if kept.step]
        if not every:
            problems.append(Problem("checkpoint", ALL, f"{run.name} has kept none yet"))
        wanted = [*every, *(name for name in wanted if name != ALL)]
    for name in wanted:
        try:
            kept = find_checkpoint(run, name)
            found[kept.step] = kept
        except CheckpointError as error:
            problems.append(Problem("checkpoint", name, str(error)))
    if problems:
        raise ConfigError(problems)
    return [found[step] for step in sorted(found)]


def identity(resolved: Resolved, bare: bool) -> dict[str, Any]:
    """All that the numbers depend on, but for the weights; as plain data."""
    config, model = resolved.config, resolved.config.model
    dataset, workflow = config.dataset, config.workflow
    found: dict[str, Any] = {
        "dataset": {
            "path": whole_path(dataset.path),
            "subset": dataset.subset,
            "eval_path": dataset.eval_path and whole_path(dataset.eval_path),
            "eval_split": dataset.eval_split,
            "tasks": dataset.eval_tasks,
        },
        "sampling": {
            "seed": config.seed,
            "samples": config.evaluate.samples,
            "temperature": float(config.evaluate.temperature),
            "top_p": float(config.evaluate.top_p),
            "top_k": model.top_k,
            "max_model_len": model.max_model_len,
            "max_response_tokens": model.max_response_tokens,
            "enable_thinking": model.enable_thinking,
            "engine": config.hardware.engine,
        },
        "workflow": {
            "function": workflow.function,
            "judge": workflow.judge,
            "args": workflow.args,
            "success_reward": workflow.success_reward,
            "timeout": workflow.timeout,
            "overlong_reward": workflow.overlong_reward,
            "source": source_record(workflow),
        },
        "trinity": config.trinity,
    }
    done = {key: value for key in ROWS if (value := getattr(dataset, key))}
    if done or functions_of(dataset):
        found["dataset"]["rows"] = {**done, "source": rows_source(dataset)}
    if workflow.auxiliary_models:
        found["auxiliary_models"] = [
            [one.name, whole_path(one.path)] for one in workflow.auxiliary_models
        ]
    if bare:
        found["model"] = model.url or whole_path(model.path)
        if model.chat_template and not model.url:
            found["chat_template"] = template_digest(model.chat_template)
    # As it is read back.
    plain: dict[str, Any] = json.loads(json.dumps(found, default=str))
    return plain


def checkpoints_of_each(several: Sequence[Resolved], run: RunFolder | None) -> list[Sequence[Kept]]:
    """The checkpoints of measurements that follow each other: of a run that still trains, `last`
    is the same for all.

    Raises:
        ConfigError: With all that are not there or damaged, and where one name is given to
            different measurements.
    """
    found: dict[str, list[Kept]] = {}
    problems = _clashes(several, run)
    for names in dict.fromkeys(resolved.config.checkpoint for resolved in several):
        try:
            found[names] = checkpoints_asked(run, names)
        except ConfigError as error:
            problems += error.problems
    raise_if_any(problems)
    return [found[resolved.config.checkpoint] for resolved in several]


def _clashes(several: Sequence[Resolved], run: RunFolder | None) -> list[Problem]:
    there: dict[Path, dict[str, Any]] = {}
    for resolved in several:
        depends = identity(resolved, run is None)
        if there.setdefault(_place(resolved, run, depends), depends) != depends:
            what, remedy = "is one place for what is measured differently", "leave it out"
            return [Problem("evaluate.name", resolved.config.evaluate.name, what, remedy)]
    return []


def _place(resolved: Resolved, run: RunFolder | None, depends: dict[str, Any]) -> Path:
    config = resolved.config
    digest = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:6]
    name = f"{config.dataset.name}-{digest}"
    if config.evaluate.name != AUTO:
        name = config.evaluate.name
    elif run is None:
        name = f"{config.model.name.replace('/', '-')}-{name}"
    root = run.path if run else Path(config.run.dir)
    return root / EVALUATIONS / name


def _is_drawn(folder: EvaluationFolder) -> bool:
    drawn, results = folder.picture, folder.results_json
    return drawn.is_file() and drawn.stat().st_mtime_ns >= results.stat().st_mtime_ns


def _draw(folder: EvaluationFolder) -> None:
    """Write the page and, after it, the picture of what was measured."""
    write_atomically(folder.report_html, evaluation_page(folder))
    # matplotlib is slow to import, and what was measured is written by now.
    from rlagent.report.evaluation_picture import evaluation_picture

    write_atomically(folder.picture, evaluation_picture(folder))


def _was_asked_to_end(folder: EvaluationFolder) -> bool:
    return folder.read_status().get("state") in ("stopped", "interrupted")


def _set_aside(folder: EvaluationFolder) -> None:
    """Keep what is there beside it: results, also damaged ones, and rollouts without any."""
    if folder.results_json.exists() or folder.rollouts.batches():
        move_contents_aside(folder.path)


class Evaluating:
    """One attempt at an evaluation.

    Args:
        resolved: What is measured.
        folder: Where its results go; held by this process.
        display: What is said.
        run: As for `measure`.
        own: As for `measure`.
        results: What is measured already, and what the numbers depend on.
    """

    def __init__(
        self,
        resolved: Resolved,
        folder: EvaluationFolder,
        display: Display,
        run: RunFolder | None,
        own: str | None,
        results: dict[str, Any],
    ) -> None:
        self.stage = Stage(resolved, folder, display)
        self.folder, self.run_folder, self.own = folder, run, own
        self.results = results
        # What this attempt measured.
        self.new: list[dict[str, Any]] = []

    def run(self, asked: Sequence[Kept]) -> int:
        """Measure checkpoints and write down how it ended; returns the exit status."""
        folder, stage = self.folder, self.stage
        with stage.logged(), stage.signals:
            write_atomically(folder.config_yaml, config_text(stage.resolved.config))
            folder.write_status(
                state="running",
                exit_code=None,
                cause="",
                attempt=stage.attempt.number,
                pid=os.getpid(),
                started=stage.watch.started,
            )
            state, code, cause = guarded(lambda: self._attempt(asked), stage.signals)
            self._conclude(state, code, cause)
        return code

    def _conclude(self, state: str, code: int, cause: str) -> None:
        self.folder.write_status(state=state, exit_code=code, cause=cause)
        self._mirror()
        if code:
            again = "" if code == EXIT_CONFIG else "; the same command again goes on from here"
            self.stage.display.message(f"{state}: {cause}{again}")
        self.folder.let_go()

    def _mirror(self) -> None:
        """Have the run's own dashboard show what was measured, over the checkpoints' steps."""
        run, stage = self.run_folder, self.stage
        if run is None or not self.new:
            return
        for entry in self.new:
            run.append_metrics(ROLE, entry["step"], dashboard_values(self.results, entry))
        if run.driver_alive():
            # Its own mirror sends them.
            return
        mirror = start_mirror(stage.resolved, run, stage.display, None)
        if where := mirror.finish(run.read_status()):
            stage.display.message(f"dashboard: {where}")

    def _attempt(self, asked: Sequence[Kept]) -> None:
        """Connect, then start the engines and evaluate for each checkpoint."""
        from rlagent.trinity import build
        from rlagent.trinity.kept_tasks import HELD_OUT, held_out_places, prepare_held_out
        from rlagent.trinity.measuring import to_measure

        stage = self.stage
        phases.require_surroundings(stage.resolved.config.workflow.requires)
        phases.ready_model(stage)
        chosen = [line for line in stage.resolved.choices if line.startswith(SAID)]
        dataset = stage.resolved.config.dataset
        said = [*chosen, *stage.resolved.warnings]
        source, name = self.folder.path, HELD_OUT[0]
        if self.own and self.run_folder and (self.run_folder.path / "data" / "tasks").is_dir():
            source, name = self.run_folder.path, self.own
        else:
            said += prepare_held_out(dataset, self.folder.path)
        for line in said:
            stage.display.message(line)
        tree = to_measure(stage.resolved, self.folder.path, stage.attempt.number, source, name)
        places = held_out_places(source, name)
        build.save_yaml(tree, self.folder.trinity_yaml)
        give_up = lambda cause: self._conclude("failed", EXIT_FAILED, cause)  # noqa: E731
        with phases.connect(stage, tree, give_up):
            for kept in asked:
                self._measure(kept, tree, places)

    def _measure(
        self, kept: Kept, tree: dict[str, Any], places: list[dict[str, int]] | None
    ) -> None:
        from rlagent.trinity.measuring import asking

        folder, stage = self.folder, self.stage
        samples = stage.resolved.config.evaluate.samples
        pending = self._pending(kept.step, places, samples)
        # Without the start of the engines; of an attempt that was cut off, of the rest.
        seconds = 0.0
        if places is None or pending:
            asked = asking(
                tree,
                self._model(kept, tree),
                str(kept.step),
                pending if places and len(pending) < len(places) else None,
                folder.path / "pending" / str(kept.step),
            )
            config = phases.configure(stage, asked)
            with phases.actors(stage, config, trains=False) as (session, _):
                stage.watch.folder.write_status(measuring=kept.step)
                found = session.evaluate(kept.step)
                seconds = found["time/eval"]
        tasks = len(places) if places is not None else int(found["eval/tasks"])
        entry = {
            "step": kept.step,
            "checkpoint": str(kept) if self.run_folder else stage.resolved.config.model.name,
            "measured_at": time.time(),
            "seconds": seconds,
            **measures(folder.samples(kept.step), tasks, samples),
        }
        others = [each for each in self.results["measured"] if each["step"] != kept.step]
        self.results["measured"] = sorted([*others, entry], key=lambda each: each["step"])
        folder.write_results(self.results)
        self.new.append(entry)
        _draw(folder)

    def _pending(self, step: int, places: list[dict[str, int]] | None, samples: int) -> list[Any]:
        """The places of the tasks whose rollouts are not all there."""
        from rlagent.records.evaluations import by_task
        from rlagent.trinity.task_row import INDEX

        if places is None:
            return []
        runs = {index: len(rows) for (index, _), rows in by_task(self.folder.samples(step)).items()}
        return [place for place in places if runs.get(place[INDEX], 0) < samples]

    def _model(self, kept: Kept, tree: dict[str, Any]) -> str:
        """Folder or hub id of the weights of a checkpoint."""
        if self.run_folder is None:
            return str(tree["model"]["model_path"])
        from rlagent.serving.export import weights_folder

        return weights_folder(Trained(self.run_folder, kept, read_config(self.run_folder)))
