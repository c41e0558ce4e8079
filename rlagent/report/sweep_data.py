"""Gathers what the report of a sweep shows: trials' numbers, groups over seeds, layouts, causes.

Pure after the reading; how it looks is left to sweep_page.py, sweep_text.py and sweep_picture.py.
"""

import functools
import os
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

from rlagent.base.redact import redact
from rlagent.base.stats import Series, series
from rlagent.base.words import number, percent
from rlagent.config.overrides import key_of
from rlagent.records.files import DamagedError
from rlagent.records.folder import DIED, RunFolder
from rlagent.records.objective import ranked, value_of
from rlagent.records.sweep_store import (
    FAILED,
    FINISHED,
    PRUNED,
    RUNNING,
    Sweep,
    SweepFolder,
    TrialRow,
    is_dead,
)
from rlagent.report.importance import Importance, importance
from rlagent.report.sweep_names import (
    gpus_of,
    is_share,
    shared_words,
    short_keys,
    shortened,
    trial_command,
    without_secret,
)

SEED = "seed"
BEST_NOTE = (
    "Where the sweep ran, this trial is done already; with run.fresh=true added it is trained "
    "from scratch. Elsewhere the command trains the same trial."
)
"""What the command of the best trial does."""

REWARD = "rollout/reward/mean"
STEP_S, TOKENS_S = "time/step", "tokens/per_second"


@dataclass(frozen=True)
class TrialData:
    """One trial: its row of sweep.json and what its run folder holds, which may be nothing."""

    row: TrialRow
    status: dict[str, Any]
    # The sweep's metric and the training reward over the steps.
    metric: Series
    reward: Series
    # Medians over the steps: s per step, tokens per s; None where they were not measured.
    step_s: float | None
    tokens_s: float | None
    # GPUs of its layout, logical ones included; 0 without GPUs; None where it is not known.
    gpus: int | None
    # Its own page, relative to the folder of the sweep's page; None when it has none.
    page: str | None

    @property
    def number(self) -> int:
        """As people are shown it, from 1."""
        return self.row.number + 1

    @property
    def address(self) -> str:
        """Of its own page, for a link."""
        # `./` so that a folder with a colon in its name is not read as a protocol.
        path = quote(PurePath(self.page or "").as_posix())
        return path if path.startswith(".") else f"./{path}"

    @property
    def steps(self) -> int:
        """Steps trained."""
        return int(self.status.get("steps_trained") or 0)

    @property
    def layout(self) -> str:
        """The layout as written, '' where it is not known."""
        return self.row.layout or str(self.status.get("layout") or "")

    @property
    def tokens_s_gpu(self) -> float | None:
        """Tokens per second and GPU; None where either is not known."""
        if self.tokens_s is None or not self.gpus:
            return None
        return self.tokens_s / self.gpus

    @property
    def words(self) -> str:
        """What sets it apart."""
        return " ".join(self.row.overrides) or "no value differs"


@dataclass(frozen=True)
class Group:
    """Trials that differ in the seed only, and their curve."""

    words: str
    trials: tuple[TrialData, ...]
    # Mean over seeds at the steps that all of them measured, and the least and most there.
    mean: Series
    # The training reward, the mean over seeds too.
    reward: Series
    band: tuple[tuple[float, float], ...]
    # Mean objective of those that finished, of the others where none did; None when none has one.
    objective: float | None

    @property
    def has_finished(self) -> bool:
        """Whether a trial of it is ranked as finished."""
        rows = [trial.row for trial in self.trials]
        return any(row.state == FINISHED and row.objective is not None for row in rows)


@dataclass(frozen=True)
class LayoutRow:
    """What was measured with one layout: medians over its trials."""

    layout: str
    trials: int
    gpus: int | None
    step_s: float
    tokens_s: float | None
    tokens_s_gpu: float | None
    # The planner's s per step; None where it had none.
    estimate_s: float | None


@dataclass(frozen=True)
class SweepData:
    """Everything about one sweep that a report may show."""

    folder: SweepFolder
    sweep: Sweep
    # The sweep's state; `died` when its launcher is gone without having said so.
    state: str
    trials: list[TrialData]
    groups: list[Group]
    layouts: list[LayoutRow]
    importance: Importance
    # What must be said beside timings, such as that GPUs were logical ones.
    stamp: str
    # The command that runs the best trial alone; None when no trial has an objective.
    best_command: str | None
    failures: list[tuple[str, list[TrialData]]] = field(default_factory=list)

    @property
    def title(self) -> str:
        """The sweep's name."""
        return self.sweep.name

    # The table asks for it in each of its rows.
    @functools.cached_property
    def best(self) -> TrialRow | None:
        """The best trial's row."""
        return self.sweep.best()

    @property
    def counts(self) -> list[tuple[str, int]]:
        """Trials by state, the most frequent first."""
        return Counter(trial.row.state for trial in self.trials).most_common()

    @property
    def percent(self) -> bool:
        """Whether the metric is a share."""
        return is_share(self.sweep.metric)

    def value_text(self, value: float | None) -> str:
        """A value of the sweep's metric as people read it."""
        return percent(value) if self.percent else number(value)


Measured = dict[str, Any]
"""What a trial's run folder says: fields of TrialData."""


def load_sweep(
    folder: SweepFolder,
    beside: Path | None = None,
    measured: Callable[[RunFolder, str], Measured] | None = None,
    page_of: Callable[[RunFolder], str | None] | None = None,
    weigh: Callable[[Sequence[TrialRow], Sequence[str], str], Importance] = importance,
) -> SweepData:
    """Read a sweep's folder and its trials' run folders.

    Args:
        folder: The sweep's.
        beside: The folder that its page is for; the sweep's own when left out.
        measured: What a run folder says, given the sweep's metric; `measured_in` when left out.
        page_of: The address of a trial's page, relative to the sweep's; that of its report when
            left out.
        weigh: As `importance`, called when the trials are read.

    Raises:
        FileNotFoundError: There is no sweep.
    """
    sweep = folder.read()
    sweep.argv = [without_secret(word) for word in sweep.argv]
    for row in sweep.trials:
        row.overrides = [without_secret(word) for word in row.overrides]
        row.params = redact(row.params)
    gpus: dict[str, int] = {}
    # Resolved, as the run folders are: a link that leads out of a linked folder goes astray.
    start = (beside or folder.path).resolve()
    read, page = measured or measured_in, page_of or functools.partial(_report_of, start)
    trials = []
    for row in sweep.trials:
        run = folder.run_folder(row)
        trials.append(_trial(row, run, read(run, sweep.metric), gpus, page(run)))
    stamps = dict.fromkeys(str(t.status["stamp"]) for t in trials if t.status.get("stamp"))
    best = sweep.best()
    died = sweep.state == RUNNING and is_dead(sweep)
    return SweepData(
        folder=folder,
        sweep=sweep,
        state=DIED if died else sweep.state,
        trials=trials,
        groups=groups_of(trials, sweep),
        layouts=layouts_of(trials) if layouts_differ(trials) else [],
        importance=weigh([t.row for t in trials], sweep.parameters, sweep.direction),
        stamp="; ".join(stamps),
        best_command=trial_command(best, shared_words(sweep)) if best else None,
        failures=failures_of(trials),
    )


def measured_in(run: RunFolder, metric: str) -> Measured:
    """What the run folder of a trial says; of one that wrote nothing, nothing."""
    rows = run.read_metrics(names=(metric, REWARD, STEP_S, TOKENS_S))
    try:
        status = redact(run.read_status())
    except DamagedError:
        # Said where the trial's own page is made; it must not cost the report of all.
        status = {}
    return {
        "status": status,
        "metric": series(rows, metric),
        "reward": series(rows, REWARD),
        "step_s": value_of(rows, STEP_S),
        "tokens_s": value_of(rows, TOKENS_S),
    }


def _report_of(start: Path, run: RunFolder) -> str | None:
    return os.path.relpath(run.report_html, start) if run.report_html.is_file() else None


def _trial(
    row: TrialRow, run: RunFolder, measured: Measured, gpus: dict[str, int], page: str | None
) -> TrialData:
    """One trial; `gpus` remembers those of each layout, since reading YAML is slow."""
    layout = row.layout or str(measured["status"].get("layout") or "")
    if layout not in gpus and run.config_yaml.is_file():
        gpus[layout] = gpus_of(layout, run.config_yaml.read_text(encoding="utf-8"))
    return TrialData(row=row, gpus=gpus.get(layout), page=page, **measured)


def groups_of(trials: Sequence[TrialData], sweep: Sweep) -> list[Group]:
    """Trials joined over seeds, those without any measurement left out, in the ranking's order.

    As for trials, those that finished come first, however good the others were when they ended.
    """
    joined: dict[tuple[str, ...], list[TrialData]] = {}
    short = short_keys([key_of(text) for trial in trials for text in trial.row.overrides])
    for trial in trials:
        key = tuple(text for text in trial.row.overrides if key_of(text) != SEED)
        joined.setdefault(key, []).append(trial)
    found = []
    for key, members in joined.items():
        # Curves of other steps would be cut to the shortest.
        alike = [t for t in members if not t.row.unranked] or members
        mean, band = over_seeds([(t.row.state, t.metric) for t in alike])
        reward, _ = over_seeds([(t.row.state, t.reward) for t in alike])
        known = [t.row for t in members if t.row.objective is not None]
        done = [row for row in known if row.state == FINISHED]
        values = [row.objective or 0.0 for row in done or known]
        if mean or values:
            seeds = f", {len(members)} seeds" if len(members) > 1 else ""
            texts = [shortened(text, short) for text in key]
            words = (" ".join(texts) or "all trials") + seeds
            score = statistics.fmean(values) if values else None
            found.append(Group(words, tuple(members), mean, reward, band, score))
    sign = -1 if sweep.direction == "maximize" else 1
    return sorted(
        found,
        key=lambda g: (not g.has_finished, g.objective is None, sign * (g.objective or 0.0)),
    )


def over_seeds(
    members: Sequence[tuple[str, Series]],
) -> tuple[Series, tuple[tuple[float, float], ...]]:
    """Mean over seeds, with the least and the most, at the steps that all of them measured.

    Trials that did not finish count only where no finished one is: else the mean would jump
    where they end.

    Args:
        members: State and curve of each trial.
    """
    curves = [curve for state, curve in members if curve and state == FINISHED]
    curves = curves or [curve for _, curve in members if curve]
    if not curves:
        return Series("", (), ()), ()
    points = [dict(zip(curve.steps, curve.values, strict=True)) for curve in curves]
    steps = sorted(set.intersection(*(set(known) for known in points)))
    columns = [[known[step] for known in points] for step in steps]
    mean = Series(curves[0].name, tuple(steps), tuple(statistics.fmean(c) for c in columns))
    band = tuple((min(c), max(c)) for c in columns) if len(curves) > 1 else ()
    return mean, band


def layouts_differ(trials: Sequence[TrialData]) -> bool:
    """Whether layouts were compared: they differ, and by what was swept of the hardware.

    With another model, too, `auto` may take another layout; but then seconds compare models.
    """
    keys = {key for trial in trials for key in trial.row.params}
    swept = any(key == "hardware" or key.startswith("hardware.") for key in keys)
    return swept and len({trial.layout for trial in trials}) > 1


def layouts_of(trials: Sequence[TrialData]) -> list[LayoutRow]:
    """Layouts by measured seconds per step, the fastest first; those not measured are left out."""
    joined: dict[str, list[TrialData]] = {}
    for trial in trials:
        if trial.layout and trial.step_s is not None:
            joined.setdefault(trial.layout, []).append(trial)
    rows = [
        LayoutRow(
            layout=layout,
            trials=len(members),
            gpus=members[0].gpus,
            step_s=statistics.median(t.step_s for t in members if t.step_s is not None),
            tokens_s=_median([t.tokens_s for t in members]),
            tokens_s_gpu=_median([t.tokens_s_gpu for t in members]),
            estimate_s=_median([t.row.estimated_step_s for t in members]),
        )
        for layout, members in joined.items()
    ]
    return sorted(rows, key=lambda row: row.step_s)


def failures_of(trials: Sequence[TrialData]) -> list[tuple[str, list[TrialData]]]:
    """Failed trials by class, the most frequent class first."""
    joined: dict[str, list[TrialData]] = {}
    for trial in trials:
        if trial.row.state == FAILED:
            joined.setdefault(trial.row.failure or "unknown", []).append(trial)
    return sorted(joined.items(), key=lambda item: -len(item[1]))


def places(sweep: Sweep) -> dict[int, int]:
    """Place of each finished trial by objective, from 1, by its number."""
    finished = [row for row in ranked(sweep) if row.state != PRUNED]
    return {row.number: place for place, row in enumerate(finished, start=1)}


def in_order(data: SweepData) -> list[TrialData]:
    """The trials as the terminal ranks them; then those without a place, failed ones last."""
    rank = {row.number: place for place, row in enumerate(ranked(data.sweep))}
    last = len(rank)

    def key(trial: TrialData) -> tuple[int, bool, bool, int]:
        row = trial.row
        ended = row.state in (FINISHED, PRUNED)
        return rank.get(row.number, last), not ended, row.state == FAILED, row.number

    return sorted(data.trials, key=key)


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
