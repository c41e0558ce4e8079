"""What two or more runs or evaluations say about each other: from records alone, as data.

Each is measured by an evaluation of each taskset, or by the last evaluation of its training; which,
is chosen so that all were asked the same tasks. text and page are comparison_text.py's and
comparison_page.py's.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from rlagent.base.estimates import Paired, paired
from rlagent.base.origins import leaves
from rlagent.base.stats import Series, series
from rlagent.records.evaluations import (
    EVALUATIONS,
    EvaluationFolder,
    by_task,
    evaluations_in,
    measures,
)
from rlagent.records.folder import RunFolder
from rlagent.records.rollouts import Query, Rollout

NOT_COMPARED = ("run.", "monitor.", "sweep.", "hardware.", "model.shape.", "model.recipe.")
"""Settings that make no other result, or follow from others."""

TaskKey = tuple[Any, str]


@dataclass(frozen=True)
class Measurement:
    """The rollouts by which one side is measured.

    Args:
        words: Where they are from.
        dataset: Name of the taskset; empty for those of training.
        measured: As of results.json, for `evaluation_text.table`.
        tasks: The rollouts of each task.
    """

    words: str
    dataset: str
    measured: dict[str, Any]
    tasks: dict[TaskKey, list[Rollout]]


@dataclass(frozen=True)
class Candidate:
    """What a side may be measured by; its rollouts are not read yet.

    Args:
        taskset: Which tasks were asked; None: those of training.
        way: What the numbers of both sides must have in common; None: of training.
        read: Reads them.
    """

    taskset: str | None
    way: str | None
    read: Callable[[], Measurement]


@dataclass(frozen=True)
class Side:
    """One run or evaluation.

    Args:
        name: Of its folder.
        settings: Its configuration, by dotted key.
        measurements: One of each taskset that is compared; empty where nothing was measured.
        curve: Held-out success over the steps of training; empty for a bare model.
        tokens: Tokens trained on until each step.
    """

    name: str
    settings: dict[str, Any]
    measurements: list[Measurement]
    curve: Series
    tokens: Series


@dataclass(frozen=True)
class Pairing:
    """The first side against another, on the tasks of one taskset that both were asked.

    Args:
        before: The first.
        after: The other.
        one: What the first is measured by.
        two: What the other is measured by.
        found: The numbers; its indices are of `tasks`.
        tasks: The shared tasks.
    """

    before: Side
    after: Side
    one: Measurement
    two: Measurement
    found: Paired
    tasks: list[TaskKey]

    def rollouts(self, index: int) -> tuple[Rollout, Rollout]:
        """A task's first rollout on either side that shows the difference, else the first."""
        key, rose = self.tasks[index], index in self.found.better
        return _showing(self.one.tasks[key], not rose), _showing(self.two.tasks[key], rose)


@dataclass(frozen=True)
class Comparison:
    """All sides, what differs, and each against the first."""

    sides: list[Side]
    differing: list[tuple[str, list[Any]]]
    pairings: list[Pairing]

    @property
    def several(self) -> bool:
        """Whether the sides are compared on more than one taskset."""
        return any(len(side.measurements) > 1 for side in self.sides)

    @property
    def unpaired(self) -> bool:
        """Whether one side was asked other tasks than the first."""
        paired_with = [pairing.after for pairing in self.pairings]
        return any(all(side is not one for one in paired_with) for side in self.sides[1:])


def compare(folders: Sequence[RunFolder]) -> Comparison:
    """Compare runs and evaluations.

    Raises:
        DamagedError: Results of one cannot be read.
    """
    chosen = _chosen([list(_candidates(folder)) for folder in folders])
    sides = [
        _side(folder, [one.read() for one in several])
        for folder, several in zip(folders, chosen, strict=True)
    ]
    pairings = [
        pairing
        for side in sides[1:]
        for one, two in zip(sides[0].measurements, side.measurements, strict=False)
        if (pairing := _pair(sides[0], side, one, two)) is not None
    ]
    return Comparison(sides, list(_differing(sides)), pairings)


def _side(folder: RunFolder, measurements: list[Measurement]) -> Side:
    run = _run_of(folder)
    rows = run.read_metrics() if run else []
    trained = series(rows, "tokens/trained", "trainer")
    total, sums = 0.0, []
    for value in trained.values:
        total += value
        sums.append(total)
    return Side(
        name=_name(folder),
        settings=_settings(folder),
        measurements=measurements,
        curve=series(rows, "eval/success", "explorer"),
        tokens=Series("tokens", trained.steps, tuple(sums)),
    )


def _name(folder: RunFolder) -> str:
    run = _run_of(folder)
    return folder.name if run is None or run.path == folder.path else f"{run.name}/{folder.name}"


def _run_of(folder: RunFolder) -> RunFolder | None:
    """The run itself, or that whose checkpoints an evaluation measured; None: a bare model's."""
    if folder.path.parent.name != EVALUATIONS:
        return folder
    run = RunFolder(folder.path.parents[1])
    return run if run.exists() else None


def _settings(folder: RunFolder) -> dict[str, Any]:
    file = folder.config_yaml
    read = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return {
        key: value
        for key, value in leaves(read if isinstance(read, dict) else {})
        if not key.startswith(NOT_COMPARED)
    }


def _differing(sides: Sequence[Side]) -> Iterator[tuple[str, list[Any]]]:
    keys = dict.fromkeys(key for side in sides for key in side.settings)
    for key in keys:
        values = [side.settings.get(key) for side in sides]
        if any(value != values[0] for value in values):
            yield key, values


def _candidates(folder: RunFolder) -> Iterator[Candidate]:
    """What a side may be measured by, the newest evaluation first, that of training last."""
    is_run = folder.path.parent.name != EVALUATIONS
    given = evaluations_in(folder.path) if is_run else [EvaluationFolder(folder.path)]
    for each in sorted(given, key=_written, reverse=True):
        results = each.read_results()
        for measured in reversed(each.measured()):
            read = partial(_evaluated, each, str(results.get("dataset") or ""), measured)
            yield Candidate(_taskset(results), _way(results), read)
    steps = {batch.step for batch in folder.rollouts.batches("eval")} if is_run else set()
    if steps:
        # Of the last one only a part may be there: the run may be at it.
        ended = series(folder.read_metrics("explorer"), "eval/success", "explorer").steps
        yield Candidate(
            None, None, partial(_trained, folder, max(steps.intersection(ended) or steps))
        )


def _evaluated(folder: EvaluationFolder, dataset: str, measured: dict[str, Any]) -> Measurement:
    tasks = by_task(folder.samples(int(measured["step"])))
    words = f"{measured['checkpoint']}, evaluation {folder.name}"
    return Measurement(words, dataset, measured, tasks)


def _trained(folder: RunFolder, step: int) -> Measurement:
    rows = list(folder.rollouts.read(Query(phase="eval", steps=(step, step))))
    tasks = by_task(rows)
    samples = max(map(len, tasks.values()), default=1)
    measured = {"checkpoint": f"step {step}", "step": step, "seconds": None}
    measured |= measures(rows, len(tasks), samples)
    return Measurement(f"step {step}, evaluated in training", "", measured, tasks)


def _written(folder: EvaluationFolder) -> int:
    return folder.results_json.stat().st_mtime_ns


def _taskset(results: Mapping[str, Any]) -> str:
    asked = (results.get("depends") or {}).get("dataset") or {}
    return repr({key: value for key, value in asked.items() if key != "tasks"})


def _way(results: Mapping[str, Any]) -> str:
    depends = results.get("depends") or {}
    sampling = {k: v for k, v in (depends.get("sampling") or {}).items() if k not in ("seed",)}
    return repr((depends.get("dataset"), sampling.get("samples"), sampling.get("temperature")))


def _chosen(found: Sequence[Sequence[Candidate]]) -> list[list[Candidate]]:
    """Of each side one for each taskset, measured in the same way, as far as they have any in
    common; else the newest of each side."""
    common: dict[str | None, list[Candidate]] = {}
    for way in dict.fromkeys(one.way for one in found[0]):
        of_way = [next((one for one in side if one.way == way), None) for side in found]
        if all(one is not None for one in of_way):
            same = [one for one in of_way if one is not None]
            common.setdefault(same[0].taskset, same)
    if not common:
        return [list(side[:1]) for side in found]
    # The evaluation of training is the last that counts.
    evaluated = sorted(each for each in common if each is not None)
    tasksets: list[str | None] = [*evaluated] if evaluated else [None]
    return [[common[each][place] for each in tasksets] for place in range(len(found))]


def _pair(before: Side, after: Side, one: Measurement, two: Measurement) -> Pairing | None:
    shared = [key for key in one.tasks if key in two.tasks]
    if not shared:
        # Only their content is the same where the rows stand elsewhere.
        return None
    means = [[_mean(side, key) for key in shared] for side in (one, two)]
    return Pairing(before, after, one, two, paired(*means), shared)


def _mean(side: Measurement, task: TaskKey) -> float:
    """Success of a task; a rollout that left no record is none, as in `measures`."""
    rows = side.tasks[task]
    asked = max(len(rows), int(side.measured["samples"]))
    return sum(bool(row.get("success")) for row in rows) / asked


def _showing(rows: Sequence[Rollout], success: bool) -> Rollout:
    return next((row for row in rows if bool(row.get("success")) == success), rows[0])


def resolve_side(text: str, root: Path) -> RunFolder:
    """What a person means: an evaluation's folder, `RUN/NAME` of one, or a run.

    Raises:
        RunNotFoundError: There is none.
    """
    from rlagent.records.folder import find_run

    for candidate in (Path(text), root / text):
        if candidate.parent.name == EVALUATIONS and (candidate / "results.json").is_file():
            return EvaluationFolder(candidate.resolve())
    run, _, name = text.rpartition("/")
    if run and not Path(text).is_dir() and not (root / text).is_dir():
        folder = find_run(run, root).path / EVALUATIONS / name
        if (folder / "results.json").is_file():
            return EvaluationFolder(folder)
    return find_run(text, root)
