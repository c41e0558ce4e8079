"""Who gets which GPUs, cores and memory: the machine's resources, shared out among trials.

Pure bookkeeping; which trial is asked for next and what runs on a share is pool.py's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rlagent.backends.registry import engine_named
from rlagent.config.schema import AUTO, LearnConfig
from rlagent.config.step_workload import workload_of
from rlagent.planner.layout import Layout
from rlagent.planner.memory import host_gib
from rlagent.sweep.source import Need

KEPT_GIB = 1.0
"""Host memory left to the system and the launcher."""


def need_of(config: LearnConfig, layout: Layout) -> Need:
    """Return what a resolved trial takes.

    Args:
        config: Resolved.
        layout: Its layout.
    """
    given = config.sweep.memory_gib
    hardware = config.hardware
    engine, nodes = engine_named(hardware.engine), int(hardware.nodes)
    gpus = layout.total_gpus if engine.on_gpus or hardware.logical_gpus else 0
    if engine.on_gpus and config.workflow.auxiliary_models:
        # They are outside of the layout.
        gpus = int(hardware.gpus) * nodes
    kept = host_gib(
        config.model.shape,
        layout,
        workload_of(config),
        bool(hardware.offload),
        int(hardware.gpus),
    )
    cores, memory = engine.host_need(layout, gpus, nodes, kept, int(hardware.threads))
    return Need(gpus, cores, memory if given == AUTO else float(given), nodes)


def least_of(needs: Sequence[Need]) -> Need:
    """Return the least of each resource that any of some trials takes."""
    return Need(
        min(need.gpus for need in needs),
        min(need.cores for need in needs),
        min(need.memory_gib for need in needs),
        min(need.nodes for need in needs),
    )


@dataclass(frozen=True)
class Resources:
    """What the trials of a sweep may use together.

    Args:
        gpus: Ids of the GPUs, as CUDA_VISIBLE_DEVICES names them; invented for logical ones.
        cores: CPU cores.
        memory_gib: Host memory, GiB.
        most: Most trials at once; None: as many as fit.
        kind: What a GPU is called: GPU or logical GPU.
    """

    gpus: tuple[str, ...]
    cores: int
    memory_gib: float
    most: int | None = None
    kind: str = "GPU"

    @property
    def room_gib(self) -> float:
        """Host memory that one trial can have, GiB."""
        return self.memory_gib - KEPT_GIB


@dataclass(frozen=True)
class Share:
    """What one trial has.

    Args:
        gpus: Ids of its GPUs.
        cores: Cores that it should keep to.
    """

    gpus: tuple[str, ...]
    cores: int


def never(need: Need, resources: Resources) -> str | None:
    """Return why a trial can never have its GPUs, None when it can.

    Cores are shared rather than owned, so a trial that could use more runs all the same.

    Args:
        need: What it needs.
        resources: What there is.
    """
    if need.gpus <= len(resources.gpus):
        return None
    there = len(resources.gpus)
    return f"needs {_count(need.gpus, resources.kind)}, there {_are(there)} {there}"


class Ledger:
    """Which trial has what right now."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self._taken: dict[str, tuple[Need, Share]] = {}
        # What trials of other sweeps have, by the name of the sweep.
        self._others: list[tuple[str, Need, Share]] = []

    def __len__(self) -> int:
        return len(self._taken)

    @property
    def free_gpus(self) -> tuple[str, ...]:
        """Ids of the free GPUs, in order."""
        shares = [share for _, share in self._taken.values()]
        shares += [share for _, _, share in self._others]
        taken = {gpu for share in shares for gpu in share.gpus}
        return tuple(gpu for gpu in self.resources.gpus if gpu not in taken)

    def waits_for(self, need: Need) -> str:
        """Return what a trial that needs this waits for, in words; empty when it can start."""
        most = self.resources.most
        if most is not None and len(self._taken) >= most:
            running = "the trial under way" if most == 1 else f"one of {most} trials"
            return f"{running} to end (sweep.max_parallel)"
        taken = [held for held, _ in self._taken.values()]
        taken += [held for _, held, _ in self._others]
        lacking = []
        free = self.free_gpus
        if need.gpus > len(free):
            lacking.append(f"{_count(need.gpus, self.resources.kind)} ({len(free)} free)")
        cores = self.resources.cores - sum(held.cores for held in taken)
        # The user's own number of trials shares the cores; one trial always runs.
        if most is None and taken and need.cores > cores:
            lacking.append(f"{_count(need.cores, 'CPU core')} ({max(0, cores)} free)")
        memory = self.resources.room_gib - sum(held.memory_gib for held in taken)
        if taken and need.memory_gib > memory:
            lacking.append(f"{need.memory_gib:.1f} GiB of memory ({max(0.0, memory):.1f} free)")
        words = " and ".join(lacking)
        names = ", ".join(dict.fromkeys(name for name, _, _ in self._others))
        return f"{words}, shared with {names}" if words and names else words

    def take(self, key: str, need: Need) -> Share | None:
        """Give a trial its share; None when it has to wait.

        Args:
            key: Name of the trial, for `give_back`.
            need: What it takes.
        """
        if self.waits_for(need):
            return None
        share = Share(self.free_gpus[: need.gpus], self._cores(need))
        self._taken[key] = (need, share)
        return share

    def take_these(self, key: str, gpus: Sequence[str], need: Need) -> None:
        """Count what an earlier process holds as taken, whether it fits or not.

        Args:
            key: Name of its trial, for `give_back`.
            gpus: Ids of its GPUs; those that are not shared out here do not matter.
            need: What it takes beside them.
        """
        ours = tuple(gpu for gpu in gpus if gpu in self.resources.gpus)
        self._taken[key] = (need, Share(ours, need.cores))

    def count_others(self, held: Sequence[tuple[str, Sequence[str] | None, Need]]) -> None:
        """Count what trials of other sweeps have as taken, instead of what they had before.

        They are no trials of this sweep: sweep.max_parallel does not mean them.

        Args:
            held: Of each the name of its sweep, the ids of its GPUs (None: any), and what it
                takes.
        """
        self._others = [
            (name, need, Share(self._ours(gpus), need.cores)) for name, gpus, need in held
        ]

    def has_others(self) -> bool:
        """Whether trials of other sweeps have something."""
        return bool(self._others)

    def _ours(self, gpus: Sequence[str] | None) -> tuple[str, ...]:
        """Those of another sweep's GPUs that are shared out here too; logical ones never are."""
        if self.resources.kind != "GPU":
            return ()
        if gpus is None:
            return self.resources.gpus
        return tuple(gpu for gpu in gpus if gpu in self.resources.gpus)

    def give_back(self, key: str) -> None:
        """Release what a trial held."""
        del self._taken[key]

    def _cores(self, need: Need) -> int:
        """Cores for a trial: what it needs, less when more trials run than the cores hold."""
        resources = self.resources
        if not need.cores:
            return max(1, resources.cores * need.gpus // max(1, len(resources.gpus)))
        if resources.most is None:
            return max(1, min(need.cores, resources.cores))
        return max(1, min(need.cores, resources.cores // resources.most))


def gpu_ids(count: int, setting: str | None) -> tuple[str, ...]:
    """Return how CUDA_VISIBLE_DEVICES names the visible GPUs, each once.

    >>> gpu_ids(2, "3,5,5"), gpu_ids(2, None)
    (('3', '5'), ('0', '1'))

    Args:
        count: GPUs that were found.
        setting: The variable's value; None when it is not set.
    """
    if setting is None:
        return tuple(str(index) for index in range(count))
    names = dict.fromkeys(part.strip() for part in setting.split(","))
    return tuple(names)[:count]


def indices(ids: Sequence[str], share: Share) -> list[int]:
    """Return the places of a share's GPUs among all, for people."""
    return [list(ids).index(gpu) for gpu in share.gpus]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"
