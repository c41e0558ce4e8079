"""Gathers what a report shows from the files of a run folder.

Pure after the reading; how it looks is left to page.py, picture.py and text.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rlagent.base.measures import workflow_metrics
from rlagent.base.redact import redact, redact_yaml
from rlagent.base.stats import Series, difference, series
from rlagent.records.folder import RunFolder
from rlagent.records.progress import Evaluation
from rlagent.records.rollouts import Query, Rollout, place_of
from rlagent.records.summary import evaluations


@dataclass(frozen=True)
class Pair:
    """One held-out task: the rollout before training and the one after."""

    before: Rollout
    after: Rollout

    @property
    def kind(self) -> str:
        """learnt, lost, kept or unsolved."""
        was, now = bool(self.before.get("success")), bool(self.after.get("success"))
        return {(False, True): "learnt", (True, False): "lost", (True, True): "kept"}.get(
            (was, now), "unsolved"
        )


@dataclass(frozen=True)
class ReportData:
    """Everything about one run that a report may show."""

    folder: RunFolder
    status: dict[str, Any]
    rows: list[dict[str, Any]]
    evaluations: list[Evaluation]
    pairs: list[Pair]
    # How many of the tasks measured both times were of each kind.
    pair_counts: dict[str, int]
    config_yaml: str
    trinity_yaml: str

    def series(self, name: str, role: str | None = None) -> Series:
        """One metric over the steps."""
        return series(self.rows, name, role)

    @property
    def own(self) -> list[str]:
        """Names of what the workflow itself reports of its rollouts, in the order of the first."""
        found: dict[str, None] = {}
        for row in self.rows:
            metrics = row["metrics"]
            for family in ("rollout", "eval"):
                found |= dict.fromkeys(workflow_metrics(metrics, family))
        # It stands beside success.
        return [name for name in found if name != "valid"]

    @property
    def title(self) -> str:
        """The run's name."""
        return self.folder.name

    @property
    def change(self) -> tuple[float, float, float] | None:
        """Rise of held-out success and its 95 % interval; None when not measured twice."""
        if len(self.evaluations) < 2:
            return None
        first, last = self.evaluations[0], self.evaluations[-1]
        if not first.tasks or not last.tasks:
            return None
        low, high = difference(first.success, first.tasks, last.success, last.tasks)
        return last.success - first.success, low, high


def load(folder: RunFolder, conversations: bool = True, configuration: bool = True) -> ReportData:
    """Read a run folder; parts that are not there yet stay empty.

    Args:
        folder: The run.
        conversations: Whether to read rollouts, the largest part.
        configuration: Whether to read the two YAML files, which is slow.
    """
    rows = folder.read_metrics()
    measured = evaluations([row for row in rows if row["role"] == "explorer"])
    pairs: list[Pair] = []
    if conversations:
        pairs = all_pairs(folder)
    counts = dict.fromkeys(("learnt", "lost", "kept", "unsolved"), 0)
    for pair in pairs:
        counts[pair.kind] += 1
    return ReportData(
        folder=folder,
        status=redact(folder.standing()),
        rows=rows,
        evaluations=measured,
        pairs=choose(pairs),
        pair_counts=counts,
        config_yaml=_yaml_text(folder.config_yaml) if configuration else "",
        trinity_yaml=_yaml_text(folder.trinity_yaml) if configuration else "",
    )


def all_pairs(folder: RunFolder) -> list[Pair]:
    """Rollouts of the first and the last evaluation for the same task, by task."""
    steps = [batch.step for batch in folder.rollouts.batches("eval")]
    if len(steps) < 2:
        return []
    before, after = (
        {place_of(row): row for row in folder.rollouts.read(Query("eval", (step, step)))}
        for step in (steps[0], steps[-1])
    )
    return [Pair(before[key], after[key]) for key in sorted(before.keys() & after.keys())]


def choose(pairs: Sequence[Pair], limit: int = 8) -> list[Pair]:
    """A few pairs that show every kind: what was learnt first, then what was not.

    The first of each kind by task number, so that nobody picks the nice ones.
    """
    wanted = {"learnt": 4, "unsolved": 2, "lost": 1, "kept": 1}
    chosen: list[Pair] = []
    for kind, count in wanted.items():
        chosen += [pair for pair in pairs if pair.kind == kind][:count]
    rest = [pair for pair in pairs if pair not in chosen]
    return (chosen + rest)[:limit]


def _yaml_text(path: Any) -> str:
    return redact_yaml(path.read_text(encoding="utf-8")) if path.is_file() else ""
