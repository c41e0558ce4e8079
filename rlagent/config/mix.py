"""The tasksets of a run, one by one: that of dataset.path, and those that dataset.mix adds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rlagent.base.errors import Problem
from rlagent.config.schema import DatasetConfig, LearnConfig


@dataclass(frozen=True)
class Part:
    """One taskset.

    Args:
        key: Of its configuration.
        dataset: As if it were the only one.
        weight: Share of the tasks of a step, against the weights of the others.
        train: Folder of its training tasks in a run's data.
        held_out: Folder of its held-out tasks.
    """

    key: str
    dataset: DatasetConfig
    weight: float
    train: str
    held_out: str


def parts_of(dataset: DatasetConfig) -> list[Part]:
    """The tasksets of a dataset; without dataset.mix one."""
    if not dataset.mix:
        return [Part("dataset", dataset, 1.0, "train", "heldout")]
    alone = replace(dataset, mix=[])
    found = [Part("dataset", alone, dataset.weight, "train", "heldout")]
    for index, more in enumerate(dataset.mix):
        other = replace(
            alone,
            name=more.name,
            path=more.path,
            subset=more.subset,
            split=more.split,
            eval_path=None,
            eval_split=more.eval_split,
            args=more.args,
            map=more.map,
            filter=more.filter,
        )
        key = f"dataset.mix.{index}"
        found.append(Part(key, other, more.weight, f"train-{more.name}", f"heldout-{more.name}"))
    return found


def measured_parts(dataset: DatasetConfig) -> list[Part]:
    """The tasksets that have held-out tasks."""
    return [part for part in parts_of(dataset) if part.dataset.eval_split]


def mix_problems(config: LearnConfig) -> list[Problem]:
    """Return what of dataset.mix means nothing or contradicts itself."""
    dataset = config.dataset
    problems = []
    if not dataset.mix:
        # A resolved file holds every key: only another value than the default asks for something.
        if dataset.weight != DatasetConfig().weight:
            message = "weighs the dataset against those of dataset.mix, of which there is none"
            problems.append(Problem("dataset.weight", dataset.weight, message, "leave it out"))
        return problems
    if config.algorithm.total_epochs is not None:
        message = "means a pass over one taskset, and dataset.mix has several"
        remedy = "set algorithm.total_steps"
        key, value = "algorithm.total_epochs", config.algorithm.total_epochs
        problems.append(Problem(key, value, message, remedy))
    seen = {dataset.name, "train", "heldout"}
    for index, more in enumerate(dataset.mix):
        key = f"dataset.mix.{index}"
        if not more.name or not more.path:
            problems.append(Problem(key, None, "needs both name and path"))
        elif more.name in seen:
            remedy = "give each taskset a name of its own"
            problems.append(Problem(f"{key}.name", more.name, "is taken", remedy))
        elif not more.name.replace("-", "").replace("_", "").isalnum():
            message = "must be letters, digits, - and _: evaluations and curves are named by it"
            problems.append(Problem(f"{key}.name", more.name, message))
        seen.add(more.name)
        if more.eval_split == more.split:
            message = "is the split that is trained on, so nothing would be held out"
            problems.append(Problem(f"{key}.eval_split", more.eval_split, message))
    return problems


def places(weights: Sequence[float], batch_size: int) -> list[int]:
    """Which taskset each task of a round comes from: as many of each as its weight asks for.

    A round has a thousand tasks, or ten steps; every taskset has at least one of them.

    >>> [places([3, 1], 2).count(part) for part in (0, 1)]
    [750, 250]
    """
    size = max(1000, 10 * batch_size)
    whole = sum(weights)
    counts = [max(1, round(size * weight / whole)) for weight in weights]
    # What rounding leaves over or lacks is the largest one's.
    counts[counts.index(max(counts))] += size - sum(counts)
    return [part for part, count in enumerate(counts) for _ in range(count)]
