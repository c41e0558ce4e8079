"""A grid: every combination of the values given, planned whole before the first trial starts.

Composing, checking and resolving a trial are rlagent.config's; running them is pool.py's.
"""

import dataclasses
import itertools
import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rlagent.base.errors import ConfigError, Problem, raise_if_any
from rlagent.base.origins import is_written
from rlagent.config.command import Command
from rlagent.config.compose import Draft, to_mapping
from rlagent.config.overlay import Shared
from rlagent.config.overrides import SWEPT_BY_HYDRA, is_sweep, key_of, parse
from rlagent.config.prepare import prepare
from rlagent.config.resolve import Resolved
from rlagent.config.schema import AUTO, SweepConfig
from rlagent.machine.resources import Machine
from rlagent.records.sweep_store import TrialRow
from rlagent.sweep.layouts import estimated_step_s, layouts_to_try
from rlagent.sweep.shares import need_of
from rlagent.sweep.source import Trial
from rlagent.sweep.values import MOST, parsed, texts_of

LAYOUT = "hardware.layout"
OF_A_SEARCH = ("n_trials", "pruner", "seed", "startup_trials", "prune_after", "reduction_factor")
"""Settings of a sweep that a grid has no use for."""


@dataclass(frozen=True)
class Choice:
    """One combination of a grid.

    Args:
        overrides: The whole command line of the trial.
        differing: Those of them that set it apart.
    """

    overrides: list[str]
    differing: list[str]

    def words(self) -> str:
        """What sets it apart, in one line."""
        return " ".join(self.differing) or "no value differs"


@dataclass
class Grid:
    """A planned grid.

    Args:
        trials: Those that run, each once.
        parameters: Keys that differ, in the order typed.
        notes: What is worth saying: duplicates, trials left out.
        ids: Id of the trial of each combination, duplicates included.
    """

    trials: list[Trial]
    parameters: list[str]
    notes: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)


class GridSource:
    """Hands out the trials of a grid, in order."""

    def __init__(self, trials: Iterable[Trial]) -> None:
        self._left = deque(trials)

    def next(self) -> Trial | None:
        """The next of the grid."""
        return self._left.popleft() if self._left else None

    def exhausted(self) -> bool:
        """Whether all were handed out."""
        return not self._left

    def illegal(self) -> tuple[int, int]:
        """A grid is legal as a whole, or not begun."""
        return 0, 0

    def report(self, trial: Trial, step: int, value: float) -> bool:
        """A grid prunes nothing."""
        return False

    def ended(self, trial: Trial, row: TrialRow) -> None:
        """A grid learns nothing from it."""


def plan(command: Command, machine: Machine, base: Draft, plan_only: bool = False) -> Grid:
    """Compose, check and resolve every trial of a grid.

    Args:
        command: The typed command, with `-m`.
        machine: What there is.
        base: What all trials share, composed without mistakes.
        plan_only: Do not ask whether this machine has the GPUs.

    Raises:
        ConfigError: With every mistake of every trial, each named with its trials.
    """
    grid = plan_choices(command, machine, choices_of(command, base), plan_only)
    remedy = "it is a search's, such as sweep.sampler=tpe makes"
    grid.notes += of_no_use(base.config.sweep, OF_A_SEARCH, remedy)
    most = base.config.sweep.max_trials
    if most and len(grid.trials) > most:
        note = f"sweep.max_trials={most}: the first {most} of {len(grid.trials)} trials run"
        if base.config.sweep.layouts:
            note += ": what auto takes, then the fastest by the planner's estimate"
        return dataclasses.replace(grid, trials=grid.trials[:most], notes=[*grid.notes, note])
    return grid


def plan_choices(
    command: Command,
    machine: Machine,
    choices: Sequence[Choice],
    plan_only: bool = False,
    first: int = 0,
) -> Grid:
    """Compose, check and resolve given combinations; arguments and errors as for `plan`.

    Args:
        choices: The combinations.
        first: Number of the first trial.
    """
    found: list[tuple[Choice, Resolved]] = []
    mistakes, notes, shared = _Mistakes(len(choices)), [], Shared()
    for number, choice in enumerate(choices, start=1):
        try:
            draft = command.draft(choice.overrides, shared=shared)
            resolved = prepare(draft, machine, command.config_dirs, plan_only)
            each, left_out = _with_layouts(choice, resolved, command, machine, plan_only, shared)
            found += each
            notes += left_out
        except ConfigError as error:
            mistakes.add(number, choice, error.problems)
    mistakes.raise_if_any()
    kept, twice = _once(found)
    notes += twice
    trials = [
        Trial(
            number=number,
            overrides=tuple(choice.overrides),
            differing=tuple(choice.differing),
            params=params_of(choice.differing),
            resolved=resolved,
            need=need_of(resolved.config, resolved.layout),
            estimated_step_s=estimated_step_s(resolved),
        )
        for number, (choice, resolved) in enumerate(kept, start=first)
    ]
    keys = [key_of(text) for choice, _ in found for text in choice.differing]
    ids = [resolved.trial_id for _, resolved in found]
    return Grid(trials, list(dict.fromkeys(keys)), notes, ids)


def choices_of(command: Command, base: Draft) -> list[Choice]:
    """Return the combinations of the values typed and of those that presets of a sweep bring."""
    typed = [as_swept(text) for text in command.overrides]
    raise_if_any(doubled(typed))
    words = [*typed, *brought(base, typed)]
    swept = {index for index, text in enumerate(words) if is_sweep(text)}
    return [
        Choice(line, [line[index] for index in sorted(swept)])
        for line in product(words, command.config_dirs)
    ]


def as_swept(text: str) -> str:
    """Return an override that gives several values with the key that they are of.

    >>> as_swept("hydra.sweeper.params.seed=1,2"), as_swept("hydra.sweeper.max_batch_size=2")
    ('seed=1,2', 'hydra.sweeper.max_batch_size=2')
    """
    inner = text.lstrip("+").removeprefix(SWEPT_BY_HYDRA)
    return inner if inner != text.lstrip("+") and is_sweep(text) else text


def doubled(typed: Sequence[str]) -> list[Problem]:
    """Return the keys that are swept and given once more, of which Hydra would take the last.

    Args:
        typed: The overrides, as `as_swept` returns them.
    """
    given: dict[str, list[str]] = {}
    for text in typed:
        given.setdefault(key_of(text), []).append(text)
    return [
        Problem(
            key,
            texts[0].partition("=")[2],
            f"is given again: {' '.join(texts[1:])}",
            f"write {key}=... once, with every value that is meant",
        )
        for key, texts in given.items()
        if len(texts) > 1 and any(is_sweep(text) for text in texts)
    ]


def of_no_use(sweep: SweepConfig, names: Sequence[str], remedy: str) -> list[str]:
    """Return a line for each setting of a sweep that was set though this kind of sweep ignores it.

    Args:
        sweep: The sweep's settings.
        names: Those that are ignored.
        remedy: Why, and what to do.
    """
    return [
        f"sweep.{name}={getattr(sweep, name)} changes nothing: {remedy}"
        for name in names
        if is_written(sweep, name)
    ]


def brought(base: Draft, typed: Sequence[str]) -> list[str]:
    """Return what `hydra.sweeper.params` varies, as overrides; a value typed for a key wins.

    Args:
        base: What all trials share.
        typed: The overrides, as `as_swept` returns them.
    """
    keys = {key_of(text) for text in typed}
    found = []
    for key, value in (base.sweeper.get("params") or {}).items():
        if key_of(key) not in keys:
            # A list in YAML means several values, not one value that is a list.
            text = ",".join(map(str, value)) if isinstance(value, list) else value
            found.append(f"{key}={text}")
    return found


def product(overrides: Sequence[str], config_dirs: Sequence[str] = ()) -> list[list[str]]:
    """Return the overrides of each trial: the product of all values given.

    >>> product(["seed=1,2", "model=tiny"])
    [['seed=1', 'model=tiny'], ['seed=2', 'model=tiny']]

    Raises:
        ConfigError: For what cannot be enumerated, such as an interval, and for too many trials.
    """
    choices, problems = [], []
    for override in parsed(overrides, config_dirs):
        if not override.is_sweep_override():
            choices.append([str(override.input_line)])
            continue
        key = override.get_key_element()
        try:
            choices.append([f"{key}={value}" for value in texts_of(override)])
        except ConfigError as error:
            problems += error.problems
    raise_if_any(problems)
    number = math.prod(map(len, choices))
    if number > MOST:
        keys = [key_of(values[0]) for values in choices if len(values) > 1]
        remedy = "give fewer values, or search with sweep.sampler=random or tpe"
        too_many = f"make {number} trials together, more than {MOST}"
        raise ConfigError([Problem(" ".join(keys), None, too_many, remedy)])
    return [list(trial) for trial in itertools.product(*choices)]


def params_of(differing: Sequence[str]) -> dict[str, Any]:
    """Return overrides as key and value, numbers as numbers.

    >>> params_of(["algorithm.lr=1e-4", "seed=1", "algorithm=grpo"])
    {'algorithm.lr': 0.0001, 'seed': 1, 'algorithm': 'grpo'}
    """
    found = {}
    for text in differing:
        override = parse(text)
        value = override.value() if override else text.partition("=")[2]
        plain = value is None or isinstance(value, (bool, int, float, str))
        found[key_of(text)] = value if plain else text.partition("=")[2]
    return found


def _with_layouts(
    choice: Choice,
    resolved: Resolved,
    command: Command,
    machine: Machine,
    plan_only: bool,
    shared: Shared,
) -> tuple[list[tuple[Choice, Resolved]], list[str]]:
    """Return a combination once per legal layout where `sweep.layouts` asks for that.

    Its mistakes were found before, so what is refused now is refused because of the layout; that
    is the second thing returned.
    """
    asked = resolved.composed
    if not asked.sweep.layouts or asked.hardware.layout != AUTO:
        return [(choice, resolved)], []
    found, left_out = [], []
    for layout in layouts_to_try(resolved):
        override = f"{LAYOUT}={layout}"
        each = Choice([*choice.overrides, override], [*choice.differing, override])
        draft = command.draft(each.overrides, shared=shared)
        try:
            found.append((each, prepare(draft, machine, command.config_dirs, plan_only)))
        except ConfigError as error:
            left_out.append(f"left out {layout}: {error.problems[0]}")
    return found, left_out


def _once(
    found: Sequence[tuple[Choice, Resolved]],
) -> tuple[list[tuple[Choice, Resolved]], list[str]]:
    """Leave out what is there twice.

    Raises:
        ConfigError: Two combinations would train the same run in different ways.
    """
    first: dict[str, tuple[Choice, Resolved]] = {}
    notes, problems = [], []
    for choice, resolved in found:
        other = first.setdefault(resolved.trial_id, (choice, resolved))
        if other[0] is choice:
            continue
        if same(other[1], resolved):
            notes.append(f"runs once, though it is there twice: {choice.words()}")
            continue
        for text in choice.differing:
            if text not in other[0].differing:
                problems.append(no_run_of_its_own(text, other[0].words()))
    raise_if_any(problems)
    return list(first.values()), notes


def no_run_of_its_own(text: str, other: str) -> Problem:
    """Return what is wrong with a swept value that leaves a trial's identity alone.

    Args:
        text: The override.
        other: In words, the trial whose run it would continue.
    """
    key, _, value = text.partition("=")
    return Problem(
        key,
        value,
        f"does not make a run of its own: it would continue the run of {other}",
        "sweep something that changes learning, or give each a run.name",
    )


def same(one: Resolved, other: Resolved) -> bool:
    """Whether two trials are one and the same, also in what leaves their identity alone."""
    return to_mapping(one.composed) == to_mapping(other.composed)


class _Mistakes:
    """Collects the mistakes of all trials; one that several make is named once."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._found: dict[str, tuple[Problem, list[tuple[int, Choice]]]] = {}

    def add(self, number: int, choice: Choice, problems: Iterable[Problem]) -> None:
        """Note what is wrong with a trial."""
        for problem in problems:
            self._found.setdefault(str(problem), (problem, []))[1].append((number, choice))

    def raise_if_any(self) -> None:
        """Raise ConfigError when any trial has a mistake."""
        raise_if_any(self._named(*entry) for entry in self._found.values())

    def _named(self, problem: Problem, where: list[tuple[int, Choice]]) -> Problem:
        if len(where) == self.total:
            return problem
        if len(where) == 1:
            number, choice = where[0]
            name = f" (trial {number} of {self.total}: {choice.words()})"
        else:
            numbers = ", ".join(str(number) for number, _ in where)
            name = f" (trials {numbers} of {self.total})"
        if problem.remedy:
            return dataclasses.replace(problem, remedy=problem.remedy + name)
        return dataclasses.replace(problem, message=problem.message + name)
