"""What the trials of a sweep share, and how one is started: command line, resources, identity.

Pure apart from `is_done` and `is_from_scratch`, which read a run folder; pool.py runs trials.
"""

import hashlib
import json
import sys
from collections.abc import Sequence

from rlagent.backends.registry import engine_named
from rlagent.base.errors import Problem
from rlagent.config.command import Command
from rlagent.config.identity import LEFT_OUT
from rlagent.config.overrides import is_sweep, key_of
from rlagent.config.resolve import Resolved
from rlagent.config.schema import AUTO
from rlagent.machine.resources import Machine
from rlagent.planner.gpus import find_gpu
from rlagent.records.folder import RunFolder
from rlagent.report.sweep_names import without_secret
from rlagent.sweep.shares import Resources, gpu_ids, never
from rlagent.sweep.source import Trial


def command_line(trial: Trial, command: Command, group: str, shared: bool) -> list[str]:
    """Return the command line of a trial's process.

    Args:
        trial: The trial.
        command: The sweep's, for its flags.
        group: Name of the sweep.
        shared: Whether it joins the user's cluster.
    """
    line = [sys.executable, "-m", "rlagent.train", *trial.overrides]
    line += [f"{key}={_quoted(value)}" for key, value in added(trial, group, shared).items()]
    return [*line, *flags_of(command)]


def added(trial: Trial, group: str, shared: bool) -> dict[str, str]:
    """Return, by key, what is added to a trial's own overrides; nothing of its identity.

    Args:
        trial: The trial.
        group: Name of the sweep.
        shared: Whether it joins the user's cluster.
    """
    composed, found = trial.resolved.composed, {}
    if not shared:
        found["hardware.ray"] = "start"
    if composed.run.display == "live":
        # The table is the sweep's; a trial writes lines to its log.
        found["run.display"] = "plain"
    if composed.monitor.type != "local":
        names = dashboard_names(trial, group)
        given = {"group": composed.monitor.group, "name": composed.monitor.name}
        found |= {f"monitor.{key}": names[key] for key in given if given[key] is None}
    return found


def dashboard_names(trial: Trial, group: str) -> dict[str, str]:
    """Return the `group` and the `name` of a trial on a dashboard.

    Args:
        trial: The trial.
        group: Name of the sweep.
    """
    monitor = trial.resolved.composed.monitor
    # W&B shows it to others; the overrides that the trial gets are as typed.
    differing = " ".join(without_secret(text) for text in trial.differing)
    return {"group": monitor.group or group, "name": monitor.name or differing or group}


def flags_of(command: Command) -> list[str]:
    """Return the flags that a trial needs too."""
    flags, line = command.flags, []
    for flag, value in (
        ("--config-dir", flags.config_dir),
        ("--config-name", flags.config_name),
        ("--config-path", flags.config_path),
    ):
        if value:
            line += [flag, value]
    return line


def sweep_id(overrides: Sequence[str], parameters: Sequence[str], sweeper: str) -> str:
    """Return the id of a sweep from its fixed overrides, its swept keys and its sweeper.

    Overrides that leave a trial's identity alone are left out; order does not count.

    >>> one = sweep_id(["model=tiny", "seed=1,2"], ["seed"], "grid")
    >>> one == sweep_id(["seed=1,2,3", "run.dir=/tmp", "model=tiny"], ["seed"], "grid")
    True
    """
    fixed = [text for text in overrides if not is_sweep(text) and _counts(key_of(text))]
    data = json.dumps([sorted(fixed), sorted(set(parameters)), sweeper])
    return hashlib.sha256(data.encode()).hexdigest()[:8]


def _counts(key: str) -> bool:
    group, _, name = key.partition(".")
    if key == "run.name":
        return True
    if group not in LEFT_OUT:
        return group != "hydra" or name.startswith("sweeper")
    fields = LEFT_OUT[group]
    # A preset of a sweep counts, its single settings do not.
    return (fields is None and key == "sweep") or (fields is not None and name not in fields)


def uses_cluster(trials: Sequence[Resolved]) -> bool:
    """Whether trials join a cluster that the user has, rather than start a Ray of their own."""
    hardware = [resolved.config.hardware for resolved in trials]
    return any(int(h.nodes) > 1 or h.ray not in (AUTO, "start") for h in hardware)


def resources_for(
    machine: Machine,
    trials: Sequence[Resolved],
    max_parallel: int | str,
    visible: str | None,
) -> Resources:
    """Return what the trials share.

    Args:
        machine: What there is.
        trials: Those that are known.
        max_parallel: sweep.max_parallel.
        visible: CUDA_VISIBLE_DEVICES of the launcher.
    """
    most = max_parallel if isinstance(max_parallel, int) else None
    hardware = [resolved.config.hardware for resolved in trials]
    logical = max((h.logical_gpus for h in hardware), default=0)
    if logical:
        # Named unlike real ones, which another sweep of this machine may use.
        gpus = tuple(f"logical-{index}" for index in range(logical))
        return Resources(gpus, machine.cores, machine.memory_gib, most, "logical GPU")
    if uses_cluster(trials):
        count = max(int(h.nodes) * int(h.gpus) for h in hardware)
        # Of the other nodes' memory nothing is known here; GPUs are what is scarce.
        gpus = tuple(str(index) for index in range(count))
        return Resources(gpus, machine.cores, float("inf"), most)
    gpus = gpu_ids(len(machine.gpus), visible)
    return Resources(gpus, machine.cores, machine.memory_gib, most)


def impossible(trials: Sequence[Trial], resources: Resources, shared: bool) -> list[Problem]:
    """Return why trials can never run: the memory that all are given once, else one per trial."""
    problems, room = [], resources.room_gib
    for trial in trials:
        config, layout = trial.resolved.config, trial.resolved.layout
        given = config.sweep.memory_gib
        # What is only estimated refuses no trial: it may run alone, as it would without a sweep.
        if given != AUTO and trial.need.memory_gib > room:
            most = f"a trial can have at most {room:.1f} GiB of this machine's memory"
            problems.append(Problem("sweep.memory_gib", given, most, "leave it out to estimate it"))
        reason = never(trial.need, resources)
        on_gpus = engine_named(config.hardware.engine).on_gpus
        if reason is None and shared and layout.colocated and on_gpus:
            reason = "engine and trainer on one GPU need a Ray of their own, not a shared cluster"
        if reason is not None:
            words = " ".join(trial.differing)
            remedy = f"(trial {trial.number + 1}: {words})" if words else ""
            problems.append(Problem("hardware.layout", str(layout), reason, remedy))
    return list(dict.fromkeys(problems))


def impossible_here(
    machine: Machine, trials: Sequence[Trial], max_parallel: int | str, visible: str | None
) -> list[Problem]:
    """Return why planned trials can never run, of those meant for this machine.

    A plan may be for GPUs that are not here: what this machine has says nothing about those.
    Arguments as for `resources_for`.
    """
    here = [trial for trial in trials if _is_here(trial.resolved, machine)]
    resolved = [trial.resolved for trial in here]
    resources = resources_for(machine, resolved, max_parallel, visible)
    return impossible(here, resources, uses_cluster(resolved))


def _is_here(resolved: Resolved, machine: Machine) -> bool:
    """Whether a trial is meant for GPUs of this machine, or for none."""
    hardware = resolved.config.hardware
    if not engine_named(hardware.engine).on_gpus:
        return True
    if int(hardware.nodes) > 1 or int(hardware.gpus) > len(machine.gpus):
        return False
    kinds = {find_gpu(gpu.name, machine).kind.name for gpu in machine.gpus}
    return find_gpu(hardware.gpu, machine).kind.name in kinds


def is_done(trial: Trial, folder: RunFolder) -> bool:
    """Whether the run folder of a trial holds all that is asked, so that no process is needed."""
    return not trial.resolved.config.run.fresh and _decided(trial, folder) == "nothing"


def is_from_scratch(trial: Trial, folder: RunFolder) -> bool:
    """Whether a trial sets aside what its run folder holds, though run.fresh does not say so:
    its workflow or its data has changed since the run finished."""
    return _decided(trial, folder) == "from scratch"


def _decided(trial: Trial, folder: RunFolder) -> str | None:
    """What a trial's process does with a finished run, run.fresh aside; None when unfinished."""
    from rlagent.launch import decide
    from rlagent.launch.record import make_record, read_record

    status = folder.read_status()
    if status.get("state") != "finished":
        return None
    decision = decide.decide(
        status,
        read_record(folder),
        make_record(trial.resolved, None),
        int(trial.resolved.config.algorithm.total_steps),
        fresh=False,
    )
    return decision.action.value


def _quoted(text: str) -> str:
    """A text as Hydra's grammar reads it back, whatever it holds."""
    if text.isalpha():
        return text
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
