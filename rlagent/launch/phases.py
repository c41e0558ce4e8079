"""The phases of an attempt, each for whichever command needs it: restore, connect, configure,
actors, train. What they measure and train is session.py's; how an attempt ends is stage.py's.

Evaluating is a method of the session, and what is written at the end is the command's own.
"""

import contextlib
import copy
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlagent.backends.registry import engine_named
from rlagent.base.endings import OutOfStepError, RunError
from rlagent.base.sampled import SAMPLED_TASKS, Sampled, sampled, step_seconds
from rlagent.base.startup import timeline
from rlagent.config.estimate import planned_parts
from rlagent.launch.head import Head, LastResort
from rlagent.launch.stage import Stage
from rlagent.launch.standstill import patience
from rlagent.machine.ray_head import address_to_join, answers
from rlagent.machine.resources import THREADS
from rlagent.planner.fit import parameters
from rlagent.trinity import rewind

if TYPE_CHECKING:
    from rlagent.launch.ray_cluster import Cluster
    from rlagent.launch.session import Session


MEASURED = "measured"
"""Below the run folder: what Trinity keeps of an evaluation between trainings."""


@dataclass(frozen=True)
class Restored:
    """What an attempt begins from.

    Args:
        tree: Trinity's configuration, as nested dicts.
        step: Of the checkpoint that it continues from; 0 without one.
        said: What was chosen and found, one line each.
    """

    tree: dict[str, Any]
    step: int
    said: list[str]


def require_surroundings(requires: Sequence[str]) -> None:
    """Prepare this process for Ray, as far as that can be done.

    Args:
        requires: What the workflow needs beside (`workflow.requires`).

    Raises:
        RunError: Something is missing; with the remedy.
    """
    from rlagent.config.requirements import required
    from rlagent.machine import surroundings

    wrong = [f"{each.found}: {each.remedy}" for each in surroundings.prepare()]
    wrong += [each.lack for each in required(requires) if each.lack]
    if wrong:
        raise RunError("; ".join(wrong))


def ready_model(stage: Stage) -> None:
    """Export the checkpoint of another run that this one starts from, where it is not yet.

    Raises:
        RunError: It cannot be exported.
    """
    from rlagent.serving.export import require_exported

    if said := require_exported(stage.resolved.config.model.path):
        stage.display.message(said)


def restore(stage: Stage) -> Restored:
    """Write the run's tasks and Trinity's configuration, and find the checkpoint to continue from.

    Raises:
        ConfigError: The dataset cannot be read, or a directory not be made.
        RunError: Data or checkpoints are damaged.
    """
    from rlagent.launch.checkpoint_place import elsewhere, place_checkpoints
    from rlagent.launch.hub import models_of, require_models
    from rlagent.trinity import build, translate
    from rlagent.trinity.conversations import prepare_conversations
    from rlagent.trinity.kept_tasks import prepare_data
    from rlagent.trinity.native_data import prepare_native_data

    ready_model(stage)
    resolved, folder = stage.resolved, stage.folder
    choices = [*resolved.choices, *resolved.warnings]
    tree = translate.to_trinity(resolved, folder.path, stage.attempt.number)
    if stage.is_native:
        given = bool(stage.functions.workflow or resolved.config.workflow.function)
        tree["buffer"], said = prepare_native_data(tree["buffer"], folder.path, given)
    elif not resolved.layout.engines:
        # The tokenizer may come from the hub.
        require_models(models_of(tree))
        measuring = resolved.measuring
        tasks = measuring.config.dataset if measuring else None
        said = prepare_conversations(resolved.config, folder.path, tasks)
    else:
        said = prepare_data(resolved.config.dataset, folder.path)
    choices += [line for line in said if line not in choices]
    build.save_yaml(tree, folder.trinity_yaml)
    place_checkpoints(folder, elsewhere(resolved.composed))
    if resolved.layout.engines:
        explorer = tree["explorer"].get("name") or "explorer"
        step = rewind.rewind_explorer(folder.checkpoints, explorer, say=stage.display.message)
    else:
        step = rewind.checkpoint_step(folder.checkpoints, stage.display.message)
    if step:
        choices.append(f"resuming from the checkpoint of step {step}")
    return Restored(tree, step, choices)


@contextlib.contextmanager
def connect(stage: Stage, tree: dict[str, Any], conclude: Callable[[str], None]) -> Iterator[None]:
    """Join or start Ray, and leave it at the end.

    Args:
        stage: The attempt.
        tree: Trinity's configuration, whose models a Ray that is started here must find.
        conclude: Writes the final status, given the cause, where Ray was lost and the main thread
            waits for it; this process ends then.
    """
    from rlagent.launch import ray_cluster
    from rlagent.launch.hub import models_of, require_models, require_template
    from rlagent.trinity import native
    from rlagent.upstream import ray as ray_patches

    resolved = stage.resolved
    runs_here = resolved.config.model.url is None
    address = address_to_join(resolved.config.hardware.ray)
    if runs_here and address is None:
        # In a cluster other nodes download it; they may have network access.
        require_models(models_of(tree))
        require_template(resolved.config.model.path, resolved.config.model.chat_template)
    stage.display.phase("starting Ray")
    on_gpus = engine_named(resolved.config.hardware.engine).on_gpus
    # Ray's processes start while this one imports what checks the configuration.
    importing = import_validators_beside()

    def start_again(words: str) -> None:
        # Unless a stop was asked for in the first try.
        stage.watch.tick()
        stage.display.message(words)

    # Ray waits without end for a head that is lost while it is joined, as for one lost later.
    joins = address is not None and answers(address)
    joining = LastResort(Head(str(address), {}), conclude) if joins else contextlib.nullcontext()
    with ray_patches.keeping_sigterm.apply(), joining:
        cluster = ray_cluster.connect(
            resolved.config.hardware,
            namespace=tree["ray_namespace"],
            env={
                THREADS: str(resolved.config.hardware.threads),
                "PYTHONPATH": ray_cluster.python_path(),
                "TRINITY_LOG_DIR": str(stage.attempt.logs),
                **native.log_environment(tree),
                **ray_cluster.colocated_env(resolved.layout, on_gpus),
            },
            gpus=ray_cluster.gpus_to_offer(resolved.layout, on_gpus),
            cpus=max(4, resolved.machine.cores),
            ready=ray_cluster.processes_at_start(
                resolved.layout, int(resolved.config.hardware.runners)
            ),
            say=start_again,
        )
    stage.head = cluster.head

    def give_up(cause: str) -> None:
        # What a lost Ray has started, and the run, whose main thread waits for that Ray.
        ray_cluster.end_lost(cluster)
        conclude(cause)

    with LastResort(cluster.head, give_up) as resort:
        yield from _within(stage, cluster, importing, resort)


def _within(
    stage: Stage, cluster: "Cluster", importing: threading.Thread, resort: LastResort
) -> Iterator[None]:
    from rlagent.launch import ray_cluster

    try:
        # transformers' lazy imports are not thread-safe.
        importing.join()
        stage.marks.mark("ray")
        stage.display.message(cluster.words())
        # A stop may have been asked for meanwhile.
        stage.watch.tick()
        yield
    finally:
        if not stage.head_is_lost():
            # However long a busy machine takes to end Ray, the run has not lost it.
            resort.disarm()
        if not cluster.found:
            ray_cluster.leave(cluster)
        # The actors have ended.
        stage.watch.close()


def configure(stage: Stage, tree: dict[str, Any]) -> Any:
    """Trinity's Config of a tree, with the key of this attempt and the workflow.

    Raises:
        ConfigError: Trinity refuses a value.
    """
    from rlagent.trinity import build, native, parts, translate

    # What its validators print goes to the log.
    with build.saying_to(stage.attempt.driver_log):
        config = build.build(tree)
    build.require_key(config)
    ours = stage.resolved.config
    arguments = translate.workflow_args(ours, stage.folder.path, stage.attempt.number)
    slots = native.slots(stage.resolved)
    if not stage.resolved.layout.trainer_gpus:
        slots = slots or parts.rollouts_at_once(stage.resolved)
    build.attach_workflow(
        config,
        {**arguments, "slots": slots},
        stage.functions.workflow,
        stage.functions.judge,
    )
    return config


@contextlib.contextmanager
def actors(stage: Stage, config: Any, trains: bool = True) -> Iterator[tuple["Session", int]]:
    """Start the engines with the explorer, and the trainer, and end them.

    Yields:
        Their session, and the step that they continue from.
    """
    session = _session(stage, config, trains)
    try:
        try:
            step = session.start()
        except OutOfStepError as error:
            # The newest checkpoint is damaged, and the trainer fell back to an older one.
            session.close()
            name = config.explorer.name
            rewind.rewind_explorer(config.checkpoint_job_dir, name, error.trainer_step)
            session = _session(stage, config, trains)
            step = session.start()
        _note_start(stage, session, step)
        yield session, step
    finally:
        if not stage.head_is_lost():
            session.close()
        # A step may have ended while a stop waited for it.
        stage.watch.look()


def measure_given(stage: Stage, step: int) -> None:
    """Measure held-out success of a run on given conversations, with engines of its own.

    Args:
        stage: The attempt, between its trainings: nothing else has the GPUs.
        step: Of the weights: 0 for those that the run started from, else its last checkpoint.
    """
    from rlagent.records.checkpoints import find_checkpoint
    from rlagent.records.configuration import read_config
    from rlagent.serving.export import weights_folder
    from rlagent.serving.trained import Trained
    from rlagent.trinity.measuring import asking, to_measure

    assert stage.resolved.measuring is not None
    measuring, folder = copy.copy(stage), stage.folder.path
    measuring.resolved = stage.resolved.measuring
    place = folder / MEASURED / str(step)
    tree = to_measure(measuring.resolved, place, stage.attempt.number, folder)
    model = str(tree["model"]["model_path"])
    if step:
        kept = find_checkpoint(stage.folder, str(step))
        model = weights_folder(Trained(stage.folder, kept, read_config(stage.folder)))
    asked = asking(tree, model, str(step), None, place)
    config = configure(measuring, asked)
    with actors(measuring, config, trains=False) as (session, _):
        session.evaluate(step)


def _note_start(stage: Stage, session: "Session", step: int) -> None:
    began = stage.watch.started
    ready = {
        "time/startup": time.time() - began,
        **timeline({**stage.marks.times(), **session.startup}, began),
    }
    stage.folder.append_metrics("driver", step, ready, attempt=stage.attempt.number)


def _session(stage: Stage, config: Any, trains: bool) -> "Session":
    from rlagent.launch.session import Session, stop_grace

    ours, watch = stage.resolved.config, stage.watch
    size = parameters(ours.model.shape)
    return Session(
        config,
        int(ours.hardware.runners),
        on_tick=stage.tick,
        on_phase=stage.display.phase,
        grace=lambda: stop_grace(watch.longest_step, size),
        stall_timeout=ours.run.stall_timeout,
        patience=lambda: patience(
            ours.run.stall_timeout, watch.longest_wait, ours.workflow.timeout
        ),
        logs=stage.attempt.logs,
        trains=trains,
        explores=bool(stage.resolved.layout.engines),
    )


def preflight(stage: Stage, session: "Session") -> Sampled:
    """Say what signal a small sample of training tasks holds, before anything is trained.

    Raises:
        RunError: Every rollout of it failed.
    """
    resolved = stage.resolved
    found = session.sample(SAMPLED_TASKS)
    rollouts = sum(group["rollouts"] for group in found["tasks"])
    explore, learn = planned_parts(resolved.config, resolved.layout, resolved.machine)
    algorithm = resolved.config.algorithm
    of_step = int(algorithm.batch_size) * int(algorithm.repeat_times)
    expected = step_seconds(found["seconds"], rollouts, of_step, explore, learn, algorithm.max_lag)
    signal = sampled(found["tasks"], found["seconds"], expected)
    for line in signal.lines():
        stage.display.message(line)
    stage.folder.append_metrics("driver", 0, signal.metrics(), attempt=stage.attempt.number)
    return signal


def train(stage: Stage, session: "Session", step: int, asked: int) -> int:
    """Train from `step` up to the asked one, and note how far it came.

    Returns:
        The step of the weights: at least `step`.

    Raises:
        Stopped: When asked to.
        RunError: A role failed, or fewer steps were trained.
    """
    trained = max(step, asked)
    if step < trained:
        session.train(trained)
    stage.watch.tick()
    stage.folder.write_status(steps_trained=trained)
    return trained


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
