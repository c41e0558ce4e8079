"""A search as a source of trials: asks Optuna for each and reports how each ended.

The study lies in a database in the sweep's folder, so that the same command continues it. Which
trial runs when is pool.py's; what a point of the space means corners.py's.
"""

import warnings
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from rlagent.base.errors import ConfigError
from rlagent.config.schema import AUTO, SweepConfig
from rlagent.records.sweep_store import FAILED, FINISHED, PRUNED, TrialRow
from rlagent.sweep.search.samplers import distributions, make_pruner, make_sampler
from rlagent.sweep.search.space import TRIALS, Space
from rlagent.sweep.source import Trial
from rlagent.upstream import optuna as optuna_patches

DATABASE = "study.db"
"""File of the study in the sweep's folder."""

# Attributes of a trial in the study.
NUMBER, TRIAL_ID, ILLEGAL, CAUSE, SAME_AS, AGAIN = (
    "number",
    "trial_id",
    "illegal",
    "cause",
    "same_as",
    "again",
)


@dataclass
class _Running:
    """A trial that the pool has, and those suggestions that turned out to be the same."""

    asked: optuna.Trial
    values: dict[int, float]
    same: list[optuna.Trial] = field(default_factory=list)


class OptunaSource:
    """Invents trials. Opened at the first use, when the launcher holds the sweep's folder.

    Args:
        folder: The sweep's folder.
        space: What may differ.
        settings: The sweep's.
        steps: Steps of a trial.
        interval: Steps between two held-out measurements.
        make: Makes a trial of its number and one value per dimension, or raises ConfigError.
        say: Called with each line worth showing.
        content: Fingerprint of what trials run and learn from.
        fresh: Whether to begin a new study rather than continue the newest.
    """

    def __init__(
        self,
        folder: Path,
        space: Space,
        settings: SweepConfig,
        steps: int,
        interval: int,
        make: Callable[[int, Sequence[str]], Trial],
        say: Callable[[str], None] = print,
        content: str = "",
        fresh: bool = False,
    ) -> None:
        self._folder, self._space, self._settings = folder, space, settings
        self._steps, self._interval = steps, interval
        self._make, self._say = make, say
        self._content, self._fresh = content, fresh
        self._distributions = distributions(space)
        self._opened: optuna.Study | None = None
        # What the study holds of trials that did not end, and of those to be tried again.
        self._resumed: deque[optuna.Trial] = deque()
        self._queued = 0
        self._counted = 0
        self._number = 0
        self._left: deque[dict[str, float | str]] = deque()
        self._running: dict[str, _Running] = {}
        self._ended: dict[str, FrozenTrial] = {}

    # ---- what the pool asks ----

    def next(self) -> Trial | None:
        """The next suggestion that is legal and new; None when there is none any more."""
        while (asked := self._take()) is not None:
            trial = self._trial_of(asked)
            if trial is None:
                continue
            running, ended = self._running.get(trial.trial_id), self._ended.get(trial.trial_id)
            if running is not None:
                asked.set_user_attr(SAME_AS, running.asked.number)
                running.same.append(asked)
            elif ended is not None:
                asked.set_user_attr(SAME_AS, ended.number)
                self._tell_again(asked, ended)
            else:
                # What was reported before a crash counts once.
                values = self._frozen(asked).intermediate_values
                self._running[trial.trial_id] = _Running(asked, dict(values))
                return trial
        return None

    def exhausted(self) -> bool:
        """Whether all trials were suggested."""
        study = self._study
        assert study is not None
        return not self._resumed and not self._queued and not self._more()

    def illegal(self) -> tuple[int, int]:
        """How many suggestions of the study were no legal configuration, of how many."""
        known = [trial.user_attrs for trial in self._study.get_trials(deepcopy=False)]
        # What is tried again is one suggestion.
        known = [found for found in known if AGAIN not in found]
        illegal = sum(ILLEGAL in found for found in known)
        return illegal, illegal + sum(TRIAL_ID in found for found in known)

    def report(self, trial: Trial, step: int, value: float) -> bool:
        """Tell the study an intermediate value; True when the pruner has seen enough."""
        running = self._running.get(trial.trial_id)
        if running is None:
            return False
        if step not in running.values:
            running.asked.report(value, step)
            running.values[step] = value
        # An older step was judged when it was new; a trial at its last step is done anyway.
        newest = step == max(running.values)
        return newest and step < self._steps and running.asked.should_prune()

    def ended(self, trial: Trial, row: TrialRow) -> None:
        """Tell the study how a trial ended. One that was interrupted stays open in it."""
        if row.state not in (FINISHED, PRUNED, FAILED):
            self._running.pop(trial.trial_id, None)
            return
        running = self._running.pop(trial.trial_id, None)
        if running is None:
            return
        asked = running.asked
        if row.state == FINISHED and row.objective is not None:
            self._study.tell(asked, row.objective)
        elif row.state == PRUNED:
            self._study.tell(asked, state=TrialState.PRUNED)
        else:
            metric = self._settings.metric
            asked.set_user_attr(CAUSE, row.cause or f"{metric} was not measured")
            self._study.tell(asked, state=TrialState.FAIL)
        self._ended[trial.trial_id] = self._frozen(asked)
        for other in running.same:
            self._tell_again(other, self._ended[trial.trial_id])

    # ---- the study ----

    @property
    def _study(self) -> optuna.Study:
        if self._opened is None:
            self._opened = self._open()
            self._recall(self._opened)
        return self._opened

    def _open(self) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = open_storage(self._folder)
        settings, space = self._settings, self._space
        # Values of another metric, length, space, workflow or dataset would mislead the sampler.
        name = f"{settings.metric} {settings.direction}, {self._steps} steps, {space.fingerprint()}"
        if self._content:
            name += f", {self._content}"
        name = newest(name, optuna.get_all_study_names(storage), self._fresh)
        study = optuna.create_study(
            storage=storage, study_name=name, direction=settings.direction, load_if_exists=True
        )
        study.sampler = make_sampler(settings, len(study.get_trials(deepcopy=False)))
        study.pruner = make_pruner(settings, self._steps, self._interval)
        for other in optuna.get_all_study_names(storage):
            trials = optuna.load_study(study_name=other, storage=storage).get_trials(deepcopy=False)
            numbers = [trial.user_attrs.get(NUMBER, -1) for trial in trials]
            self._number = max([self._number, *(number + 1 for number in numbers)])
        return study

    def _recall(self, study: optuna.Study) -> None:
        """Take up what the study holds: open trials go on, failed ones are tried again."""
        trials = study.get_trials(deepcopy=False)
        again = {trial.user_attrs.get(AGAIN) for trial in trials}
        seen = set()
        for trial in trials:
            if trial.state is TrialState.RUNNING and not self._complete(trial):
                # The launcher was killed while it asked.
                study.tell(trial.number, state=TrialState.FAIL)
                continue
            if trial.state is TrialState.FAIL and not self._complete(trial):
                continue
            if trial.number in again:
                continue
            seen.add(_point(trial))
            self._counted += 1
            if trial.state is TrialState.RUNNING:
                self._resumed.append(optuna_patches.taken_up.apply(study, trial))
            elif trial.state is TrialState.WAITING:
                self._queued += 1
            elif trial.state is TrialState.FAIL:
                attributes = trial.user_attrs
                if ILLEGAL not in attributes and SAME_AS not in attributes:
                    kept = {key: attributes[key] for key in (NUMBER, TRIAL_ID) if key in attributes}
                    study.enqueue_trial(trial.params, {**kept, AGAIN: trial.number})
                    self._queued += 1
            else:
                self._ended.setdefault(trial.user_attrs.get(TRIAL_ID, ""), trial)
        if self._settings.sampler == "grid":
            every = self._space.combinations()
            self._left.extend(point for point in every if frozenset(point.items()) not in seen)

    def _more(self) -> bool:
        """Whether the study wants a point that it has not suggested yet."""
        most, is_grid = self._settings.n_trials, self._settings.sampler == "grid"
        if most == AUTO:
            most = self._counted + len(self._left) if is_grid else TRIALS
        return self._counted < int(most) and (bool(self._left) or not is_grid)

    def _take(self) -> optuna.Trial | None:
        study = self._study
        if self._resumed:
            return self._resumed.popleft()
        if self._queued:
            self._queued -= 1
        elif self._more():
            self._counted += 1
            if self._left:
                study.enqueue_trial(self._left.popleft())
        else:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return study.ask(self._distributions)

    def _trial_of(self, asked: optuna.Trial) -> Trial | None:
        """Make a suggestion a trial; None when it is illegal, which the study records."""
        params = asked.params
        values = [dimension.text(params[dimension.name]) for dimension in self._space.dimensions]
        number = asked.user_attrs.get(NUMBER)
        try:
            trial = self._make(self._number if number is None else number, values)
        except ConfigError as error:
            asked.set_user_attr(ILLEGAL, str(error))
            self._study.tell(asked, state=TrialState.FAIL)
            point = " ".join(self._space.overrides(values))
            self._say(f"recorded as failed, since it is no legal configuration: {point}")
            for problem in error.problems:
                self._say(f"  {problem}")
            return None
        known = trial.trial_id in self._running or trial.trial_id in self._ended
        if number is None and not known:
            asked.set_user_attr(NUMBER, self._number)
            self._number += 1
        asked.set_user_attr(TRIAL_ID, trial.trial_id)
        return trial

    def _tell_again(self, asked: optuna.Trial, ended: FrozenTrial) -> None:
        """Give a repeated suggestion the result that it had the first time."""
        known = self._frozen(asked).intermediate_values
        for step, value in sorted(ended.intermediate_values.items()):
            if step not in known:
                asked.report(value, step)
        complete = ended.state is TrialState.COMPLETE
        values = ended.value if complete else None
        self._study.tell(asked, values, None if complete else ended.state)

    def _frozen(self, asked: optuna.Trial) -> FrozenTrial:
        return self._study.get_trials(deepcopy=False)[asked.number]

    def _complete(self, trial: FrozenTrial) -> bool:
        return set(self._space.names) <= set(trial.params)


def newest(name: str, known: Sequence[str], fresh: bool) -> str:
    """Return the name of the newest study of its kind, or of the next one.

    >>> newest("a", [], False), newest("a", ["a"], False), newest("a", ["a"], True)
    ('a', 'a', 'a, again 1')
    >>> newest("a", ["a", "a, again 1"], False), newest("a", ["a", "a, again 1"], True)
    ('a, again 1', 'a, again 2')
    """
    count = sum(other == name or other.startswith(f"{name}, again ") for other in known)
    index = count if fresh else max(0, count - 1)
    return f"{name}, again {index}" if index else name


def open_storage(folder: Path) -> optuna.storages.BaseStorage:
    """Return the database of a sweep's folder, made at the first time.

    SQLite, since a launcher killed in the middle of a write leaves it whole and unlocked, which
    Optuna's journal file is not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return optuna.storages.RDBStorage(f"sqlite:///{folder / DATABASE}")


def _point(trial: FrozenTrial) -> frozenset[tuple[str, float | str]]:
    """The values of a trial; of a waiting one those it will get."""
    return frozenset((trial.params or optuna_patches.waiting_values.apply(trial)).items())
