"""A search without training: Optuna asked and told through a pool that only pretends."""

import math
import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from rlagent.base.errors import ConfigError, Problem
from rlagent.config.command import parse_command
from rlagent.config.schema import SweepConfig
from rlagent.machine.resources import Machine
from rlagent.records.sweep_store import FAILED, FINISHED, INTERRUPTED, PRUNED, TrialRow
from rlagent.sweep.search import study
from rlagent.sweep.search.corners import check_corners, make_trial
from rlagent.sweep.search.samplers import distributions
from rlagent.sweep.search.space import Dimension, parse_space, space_of
from rlagent.sweep.search.start import content_of, describe, plan_search
from rlagent.sweep.search.study import OptunaSource
from rlagent.sweep.source import Need, Trial

LR = "algorithm.lr=tag(log,interval(1e-5,1e-3))"
LAPTOP = Machine((), 4, 16.0)


@pytest.fixture
def on_disk() -> None:
    """Ask for it where the study must outlive its process."""


@pytest.fixture(autouse=True)
def _storages(request, monkeypatch) -> None:
    """Keep studies in memory, one storage per folder: opening a database takes a quarter second."""
    if "on_disk" not in request.fixturenames:
        storages: dict = {}
        kept = lambda folder: storages.setdefault(folder, optuna.storages.InMemoryStorage())  # noqa: E731
        monkeypatch.setattr(study, "open_storage", kept)


class Search:
    """A search in a folder, with what it says and asks for."""

    def __init__(self, folder, *space: str, illegal: Callable[..., bool] | None = None, **settings):
        self.space, self.said, self.folder = parse_space(space or [LR]), [], folder
        settings = {"sampler": "random", "n_trials": 6, **settings}
        self.illegal = illegal or (lambda values: False)
        self.source = OptunaSource(
            folder, self.space, SweepConfig(**settings), 10, 1, self.make, self.said.append
        )

    def make(self, number: int, values) -> Trial:
        if self.illegal(values):
            raise ConfigError([Problem(self.space.names[0], values[0], "is not legal")])
        differing = self.space.overrides(values)
        resolved: Any = SimpleNamespace(trial_id=" ".join(values))
        return Trial(number, tuple(differing), tuple(differing), {}, resolved, Need())

    def all(self) -> list[Trial]:
        """Run everything to its end, one after the other."""
        found = []
        while (trial := self.source.next()) is not None:
            found.append(trial)
            self.end(trial, objective=float(len(found)))
        assert self.source.exhausted()
        return found

    def end(self, trial: Trial, state: str = FINISHED, objective: float | None = None) -> None:
        row = TrialRow(trial.number, [], {}, trial.trial_id, "", state, objective=objective)
        self.source.ended(trial, row)

    def states(self) -> list[str]:
        """States in the study, as another process reads them."""
        return [trial.state.name for trial in self.trials()]

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        storage = study.open_storage(self.folder)
        (name,) = optuna.get_all_study_names(storage)
        return optuna.load_study(study_name=name, storage=storage).trials


def ids(trials: list[Trial]) -> list[str]:
    return [trial.trial_id for trial in trials]


# ---- the space ----


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=interval(1,5)", optuna.distributions.FloatDistribution(1, 5)),
        (
            "a=tag(log,interval(1e-5,1e-3))",
            optuna.distributions.FloatDistribution(1e-5, 1e-3, True),
        ),
        ("a=tag(int,log,interval(1,64))", optuna.distributions.IntDistribution(1, 64, True)),
        ("a=int(interval(1,64))", optuna.distributions.IntDistribution(1, 64)),
        ("a=range(1,10,2)", optuna.distributions.IntDistribution(1, 9, step=2)),
        ("a=range(10,1,-3)", optuna.distributions.IntDistribution(4, 10, step=3)),
        ("a=range(4)", optuna.distributions.IntDistribution(0, 3)),
        ("a=range(0.1,0.5,0.1)", optuna.distributions.FloatDistribution(0.1, 0.4, step=0.1)),
        ("a=choice(x,y)", optuna.distributions.CategoricalDistribution(["x", "y"])),
        ("a=1e-4,3e-4", optuna.distributions.CategoricalDistribution(["1e-4", "3e-4"])),
        ("+a=null,1", optuna.distributions.CategoricalDistribution(["null", "1"])),
    ],
)
def test_hydras_syntax_becomes_optunas_distributions(text, expected) -> None:
    assert distributions(parse_space([text])) == {"a": expected}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a=interval(5,1)", "lower bound comes first"),
        ("a=tag(log,interval(0,1))", "starts above 0"),
        ("a=tag(logs,interval(1,2))", "there is no tag logs"),
        ("a=tag(log,range(1,9,2))", "a log scale has no steps"),
        ("a=range(5,1)", "holds no value"),
        ("a=1", "nothing to search"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(text, said) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_space([text])


def test_all_mistakes_of_a_space_are_named_together() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_space(["a=interval(5,1)", "b=range(5,1)", "c=1,2"])
    assert [problem.key for problem in caught.value.problems] == ["a", "b"]


def test_a_suggested_number_is_readable_and_within_its_bounds() -> None:
    dimension = Dimension("a", low=1.23456789e-5, high=1.23456789e-3)
    assert dimension.text(0.000123456789) == "0.000123457"
    assert float(dimension.text(dimension.high)) <= dimension.high
    assert float(dimension.text(dimension.low)) >= dimension.low


def test_corners_are_all_combinations_of_ends_of_a_small_space() -> None:
    space = parse_space(["a=interval(1,2)", "b=x,y,z", "seed=1"])
    assert space.fixed == ("seed=1",)
    assert space.corners() == [(a, b) for a in ("1.0", "2.0") for b in "xyz"]


def test_corners_of_a_large_space_hold_every_end_of_every_key() -> None:
    space = parse_space([f"k{index}=interval(1,2)" for index in range(8)])
    corners = space.corners(most=32)
    assert len(corners) == 10
    assert all({corner[index] for corner in corners} == {"1.0", "2.0"} for index in range(8))


def test_every_mistake_of_every_corner_is_listed_before_anything_runs() -> None:
    command = parse_command(
        [
            "-m",
            "+experiment=gsm8k_react",
            "algorithm.lr=interval(-1,1e-3)",
            "algorithm.repeat_times=0,4",
            "sweep.sampler=tpe",
            "sweep.pruner=asha",
        ]
    )
    base = command.draft(multirun=True)
    with pytest.raises(ConfigError) as caught:
        plan_search(command, LAPTOP, base)
    lines = [str(problem) for problem in caught.value.problems]
    assert any("algorithm.lr=-1.0" in line and "and 1 more" in line for line in lines)
    assert any("algorithm.repeat_times=0" in line for line in lines)


def test_the_plan_of_a_search_names_its_space_and_corners() -> None:
    command = parse_command(["-m", "+experiment=gsm8k_react", "+sweep=optuna_lr", "hardware=cpu"])
    text = plan_search(command, LAPTOP, command.draft(multirun=True))
    assert "algorithm.lr in 1e-05 to 0.001, log scale" in text
    assert "corner algorithm.lr=0.001: legal" in text


def test_a_typed_value_wins_over_the_presets_space() -> None:
    words = ["-m", "+experiment=gsm8k_react", "+sweep=optuna_lr", "algorithm.lr=1e-4", "seed=1,2"]
    command = parse_command(words)
    text = plan_search(command, LAPTOP, command.draft(multirun=True))
    assert "space: seed in 1, 2" in text
    assert "space: algorithm.lr" not in text


def test_a_searched_key_given_once_more_is_refused() -> None:
    words = ["-m", "+experiment=gsm8k_react", "hardware=cpu", LR, "algorithm.lr=1e-4"]
    command = parse_command([*words, "sweep.sampler=tpe"])
    with pytest.raises(ConfigError, match=r"is given again: algorithm\.lr=1e-4"):
        plan_search(command, LAPTOP, command.draft(multirun=True))


def test_the_trials_of_a_grid_are_noted_in_a_search() -> None:
    space, settings = parse_space([LR]), SweepConfig(sampler="tpe", max_trials=2)
    note = "sweep.max_trials=2 changes nothing: a search takes sweep.n_trials"
    assert describe(space, settings, [])[-1] == note
    assert note not in describe(space, SweepConfig(sampler="tpe"), [])


@pytest.mark.parametrize(
    ("words", "idle"),
    [
        (["algorithm.total_steps=60"], False),
        (["algorithm.total_steps=10"], True),
        (["algorithm.total_steps=15", "sweep.prune_after=12"], True),
        (["algorithm.total_steps=15", "sweep.prune_after=12", "algorithm.eval_interval=7"], False),
        (["algorithm.total_steps=2", "sweep.metric=rollout/reward/mean"], True),
    ],
)
def test_a_pruner_that_can_end_no_trial_early_is_said(words: list[str], idle: bool) -> None:
    asked = ["-m", "+experiment=gsm8k_react", "hardware=cpu", "+sweep=optuna_lr", *words]
    command = parse_command([*asked, "algorithm.lr_warmup_steps=0"])
    text = plan_search(command, LAPTOP, command.draft(multirun=True))
    assert ("sweep.pruner=asha changes nothing: it looks at a trial after" in text) == idle


def test_a_space_typed_for_the_sweeper_is_that_of_the_trials() -> None:
    space = "hydra.sweeper.params.algorithm.lr=tag(log,interval(1e-6,1e-4))"
    words = ["-m", "+experiment=gsm8k_react", "+sweep=optuna_lr", "hardware=cpu", space]
    command = parse_command(words)
    text = plan_search(command, LAPTOP, command.draft(multirun=True))
    assert "space: algorithm.lr in 1e-06 to 0.0001, log scale" in text
    assert "corner algorithm.lr=0.0001: legal" in text
    assert parse_space(["+hydra.sweeper.params.seed=range(1,4)"]) == parse_space(
        ["seed=range(1,4)"]
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["sweep.sampler=grid"], "values that can be listed"),
        (["sweep.sampler=cmaes"], "needs two numbers"),
        (["sweep.sampler=tpe", "sweep.pruner=asha"], "set algorithm.eval_interval"),
        (["sweep.sampler=tpe", "dataset.eval_split=null"], "dataset.eval_split is null"),
        (["sweep.sampler=tpf"], "must be one of none, tpe"),
        (["sweep.sampler=tpe", "sweep.n_trials=some"], "sweep.n_trials=some"),
    ],
)
def test_a_search_that_could_not_learn_is_refused(settings, said) -> None:
    command = parse_command(["-m", "+experiment=gsm8k_react", "hardware=cpu", LR, *settings])
    with pytest.raises(ConfigError, match=said):
        plan_search(command, LAPTOP, command.draft(multirun=True))


@pytest.mark.parametrize(
    "swept",
    [
        "algorithm.total_steps=range(10,100)",
        "algorithm.save_interval=2,4",
        "run.display=plain,none",
        "monitor=local,wandb",
    ],
)
def test_a_search_over_what_makes_no_run_of_its_own_is_refused(swept) -> None:
    words = ["-m", "+experiment=gsm8k_react", "hardware=cpu", LR, swept, "sweep.sampler=tpe"]
    command = parse_command(words)
    with pytest.raises(ConfigError, match="does not make a run of its own") as caught:
        plan_search(command, LAPTOP, command.draft(multirun=True))
    assert [problem.key for problem in caught.value.problems] == [swept.partition("=")[0]]


def test_two_ways_to_write_a_value_do_not_stop_a_search() -> None:
    words = ["-m", "+experiment=gsm8k_react", "hardware=cpu", "algorithm.lr=1e-4,0.0001,1e-3"]
    command = parse_command([*words, "sweep.sampler=tpe"])
    assert "3 corners" in plan_search(command, LAPTOP, command.draft(multirun=True))


def test_another_workflow_is_another_search(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["-m", "+experiment=gsm8k_react", "hardware=cpu", LR, "workflow.function=mine:run"]
    text = "async def run(task, model):\n    return 0.0\n"
    found = []
    for source in (text, text, f"{text}# changed\n"):
        (tmp_path / "mine.py").write_text(source)
        command = parse_command(words)
        space = space_of(command, command.draft(multirun=True))
        found.append(content_of(check_corners(command, LAPTOP, space, SweepConfig(sampler="tpe"))))
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(
    ("settings", "said"), [({"content": "b"}, 6), ({"fresh": True}, 6), ({}, 0)]
)
def test_changed_content_and_fresh_begin_a_new_study(tmp_path, settings, said) -> None:
    assert len(Search(tmp_path, LR).all()) == 6
    again = Search(tmp_path, LR)
    again.source = OptunaSource(
        tmp_path, again.space, again.source._settings, 10, 1, again.make, **settings
    )
    assert len(again.all()) == said


def test_a_point_of_the_space_is_the_trial_that_the_same_overrides_make_alone() -> None:
    command = parse_command(["-m", "+experiment=gsm8k_react", "+sweep=optuna_lr", "hardware=cpu"])
    space = parse_space(["+experiment=gsm8k_react", "hardware=cpu", LR])
    trial = make_trial(command, LAPTOP, space, 3, ["0.0001"])
    assert trial.overrides == ("+experiment=gsm8k_react", "hardware=cpu", "algorithm.lr=0.0001")
    assert (trial.differing, trial.params) == (("algorithm.lr=0.0001",), {"algorithm.lr": 1e-4})
    corners = check_corners(command, LAPTOP, space, SweepConfig(sampler="tpe"))
    assert [corner.params["algorithm.lr"] for corner in corners] == [1e-5, 1e-3]


# ---- ask and tell ----


@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes"])
def test_every_sampler_gets_the_result_of_each_trial_it_suggested(tmp_path, sampler) -> None:
    search = Search(tmp_path, LR, "b=range(1,1000)", sampler=sampler, n_trials=8)
    trials = search.all()
    assert [trial.number for trial in trials] == list(range(8))
    assert search.states() == ["COMPLETE"] * 8
    assert [trial.value for trial in search.trials()] == [float(n) for n in range(1, 9)]
    for trial, told in zip(trials, search.trials(), strict=True):
        shown = trial.differing[0].partition("=")[2]
        assert math.isclose(float(shown), told.params["algorithm.lr"], rel_tol=1e-5)


def test_cma_es_samples_names_beside_its_numbers(tmp_path) -> None:
    search = Search(tmp_path, LR, "b=interval(0,1)", "c=x,y", sampler="cmaes", n_trials=6)
    assert len(search.all()) == 6


def test_a_grid_is_covered_exactly_once_in_order(tmp_path) -> None:
    search = Search(tmp_path, "a=1,2", "b=range(3)", sampler="grid", n_trials="auto")
    assert ids(search.all()) == ["1 0", "1 1", "1 2", "2 0", "2 1", "2 2"]
    again = Search(tmp_path, "a=1,2", "b=range(3)", sampler="grid", n_trials="auto")
    assert again.all() == []


def test_a_grid_cut_short_goes_on_where_it_was(tmp_path) -> None:
    first = Search(tmp_path, "a=range(0.1,0.7,0.1)", sampler="grid", n_trials=2)
    assert ids(first.all()) == ["0.1", "0.2"]
    second = Search(tmp_path, "a=range(0.1,0.7,0.1)", sampler="grid", n_trials="auto")
    assert ids(second.all()) == ["0.3", "0.4", "0.5", "0.6"]


def test_several_trials_are_asked_for_before_any_has_a_result(tmp_path) -> None:
    search = Search(tmp_path, sampler="tpe", n_trials=4, startup_trials=1)
    trials = [search.source.next() for _ in range(4)]
    assert len({trial.trial_id for trial in trials if trial}) == 4
    assert search.source.exhausted()
    for trial in reversed(trials):
        assert trial is not None
        search.end(trial, objective=trial.number / 10)
    assert [trial.value for trial in search.trials()] == [0.0, 0.1, 0.2, 0.3]


def test_failed_and_unmeasured_trials_are_recorded_as_failed(tmp_path) -> None:
    search = Search(tmp_path, n_trials=3)
    for ending in ((FAILED, None), (FINISHED, None), (FINISHED, 0.5)):
        trial = search.source.next()
        assert trial is not None
        search.end(trial, *ending)
    assert search.states() == ["FAIL", "FAIL", "COMPLETE"]
    assert search.trials()[1].user_attrs["cause"] == "eval/success was not measured"


def test_an_illegal_suggestion_is_recorded_as_failed_and_the_search_goes_on(tmp_path) -> None:
    search = Search(
        tmp_path, "a=1,2,3", sampler="grid", n_trials="auto", illegal=lambda v: v[0] == "2"
    )
    assert ids(search.all()) == ["1", "3"]
    assert search.states() == ["COMPLETE", "FAIL", "COMPLETE"]
    assert search.said == [
        "recorded as failed, since it is no legal configuration: a=2",
        "  a=2: is not legal",
    ]
    assert search.source.illegal() == (1, 3)
    # It is wrong for good, so it is not tried again.
    assert Search(tmp_path, "a=1,2,3", sampler="grid", n_trials="auto").all() == []


def test_the_same_point_runs_once_and_its_value_is_reported_again(tmp_path) -> None:
    search = Search(tmp_path, "a=1,2", n_trials=8)
    assert sorted(ids(search.all())) == ["1", "2"]
    values = {(trial.params["a"], trial.value) for trial in search.trials()}
    assert len(values) == 2
    assert search.states() == ["COMPLETE"] * 8


def test_the_same_point_asked_while_it_runs_waits_for_its_value(tmp_path) -> None:
    search = Search(tmp_path, "a=1,2", n_trials=8)
    running = [search.source.next(), search.source.next()]
    assert search.source.next() is None
    assert search.source.exhausted()
    for trial in running:
        assert trial is not None
        search.end(trial, objective=float(trial.trial_id))
    assert all(trial.value == float(trial.params["a"]) for trial in search.trials())


def test_numbers_of_trials_have_no_gaps(tmp_path) -> None:
    search = Search(tmp_path, "a=range(4)", n_trials=8)
    trials = search.all()
    assert len(trials) < 8
    assert [trial.number for trial in trials] == list(range(len(trials)))


# ---- pruning ----


@pytest.mark.parametrize("pruner", ["asha", "median"])
def test_a_trial_behind_the_others_is_pruned(tmp_path, pruner) -> None:
    search = Search(tmp_path, pruner=pruner, startup_trials=1)
    for value in (0.9, 0.8):
        good = search.source.next()
        assert good is not None
        for step in (1, 2):
            search.source.report(good, step, value)
        search.end(good, objective=value)
    bad = search.source.next()
    assert bad is not None
    assert search.source.report(bad, 1, 0.1)
    search.end(bad, PRUNED)
    assert search.trials()[-1].state is TrialState.PRUNED
    assert search.trials()[-1].value == 0.1


def test_hyperband_prunes_some_of_many_trials(tmp_path) -> None:
    search = Search(tmp_path, pruner="hyperband", n_trials=10)
    pruned = 0
    while (trial := search.source.next()) is not None:
        value = 1 - trial.number / 10
        stopped = any(search.source.report(trial, step, value) for step in (1, 3, 9))
        search.end(trial, PRUNED if stopped else FINISHED, value)
        pruned += stopped
    assert 0 < pruned < 10


def test_nothing_is_pruned_without_a_pruner_or_at_the_last_step(tmp_path) -> None:
    for pruner, steps in (("none", (1, 3, 9)), ("asha", (10,))):
        search = Search(tmp_path / pruner, pruner=pruner)
        for value in (0.9, 0.1):
            trial = search.source.next()
            assert trial is not None
            assert not any(search.source.report(trial, step, value) for step in steps)
            search.end(trial, objective=value)


def test_minimizing_prunes_what_is_larger(tmp_path) -> None:
    search = Search(tmp_path, pruner="asha", direction="minimize")
    first, second = search.source.next(), search.source.next()
    assert first is not None
    assert second is not None
    assert not search.source.report(first, 1, 0.1)
    assert search.source.report(second, 1, 0.9)


def test_no_trial_is_pruned_before_the_steps_that_each_gets(tmp_path) -> None:
    search = Search(tmp_path, pruner="asha", prune_after=5)
    first, second = search.source.next(), search.source.next()
    assert first is not None
    assert second is not None
    for step in (1, 5):
        search.source.report(first, step, 0.9)
    assert not search.source.report(second, 1, 0.1)
    assert search.source.report(second, 5, 0.1)


# ---- a crash, and the same command again ----


def crash(search: Search) -> None:
    """A launcher that dies while three trials run, one of them pruned and one finished before."""
    trials = [search.source.next() for _ in range(5)]
    search.end(trials[0], objective=0.5)
    search.source.report(trials[1], 1, 0.2)
    search.end(trials[1], PRUNED)
    search.source.report(trials[2], 1, 0.3)
    os._exit(9)


def test_a_study_survives_its_launcher_and_is_continued(tmp_path, on_disk) -> None:
    launcher = os.fork()
    if not launcher:
        crash(Search(tmp_path))
    _, status = os.waitpid(launcher, 0)
    assert os.waitstatus_to_exitcode(status) == 9
    search = Search(tmp_path)
    before = search.trials()
    assert search.states() == ["COMPLETE", "PRUNED", "RUNNING", "RUNNING", "RUNNING"]
    resumed = [search.source.next() for _ in range(3)]
    assert [trial.number for trial in resumed if trial] == [2, 3, 4]
    for trial, frozen in zip(resumed, before[2:], strict=True):
        assert trial is not None
        assert trial.trial_id == search.space.dimensions[0].text(frozen.params["algorithm.lr"])
    # The pool tells again what a trial had measured; it counts once.
    first = resumed[0]
    assert first is not None
    assert not search.source.report(first, 1, 0.3)
    search.source.report(first, 2, 0.4)
    for trial in resumed:
        assert trial is not None
        search.end(trial, objective=0.6)
    new = search.all()
    assert [trial.number for trial in new] == [5]
    assert search.states() == ["COMPLETE", "PRUNED", *["COMPLETE"] * 4]
    assert search.trials()[2].intermediate_values == {1: 0.3, 2: 0.4}


def test_an_interrupted_trial_stays_open_and_goes_on(tmp_path) -> None:
    search = Search(tmp_path, n_trials=1)
    trial = search.source.next()
    assert trial is not None
    search.end(trial, INTERRUPTED)
    assert search.states() == ["RUNNING"]
    assert ids(Search(tmp_path, n_trials=1).all()) == [trial.trial_id]
    assert search.states() == ["COMPLETE"]


def test_failed_trials_are_tried_again_by_the_same_command_and_not_lost_twice(tmp_path) -> None:
    search = Search(tmp_path, n_trials=2)
    failed, good = search.source.next(), search.source.next()
    assert failed is not None
    assert good is not None
    search.end(failed, FAILED)
    search.end(good, objective=0.5)
    again = Search(tmp_path, n_trials=2).all()
    assert [(trial.number, trial.trial_id) for trial in again] == [(0, failed.trial_id)]
    assert search.states() == ["FAIL", "COMPLETE", "COMPLETE"]
    assert Search(tmp_path, n_trials=2).all() == []


def test_a_launcher_killed_while_it_asks_loses_no_trial(tmp_path, on_disk) -> None:
    search = Search(tmp_path, n_trials=2)
    # Asked, but no value suggested yet; and one that waits to be tried again.
    search.source._study.ask()
    search.source._study.enqueue_trial({"algorithm.lr": 2e-4})
    trials = Search(tmp_path, n_trials=2).all()
    assert len(trials) == 2
    assert trials[0].trial_id == "0.0002"
    assert search.states() == ["FAIL", "COMPLETE", "COMPLETE"]


def test_more_trials_continue_the_study_and_draw_other_numbers(tmp_path) -> None:
    first = Search(tmp_path, n_trials=3).all()
    more = Search(tmp_path, n_trials=5).all()
    assert [trial.number for trial in more] == [3, 4]
    assert not set(ids(first)) & set(ids(more))


def test_another_space_or_metric_starts_a_study_of_its_own(tmp_path) -> None:
    Search(tmp_path, "a=1,2", sampler="grid", n_trials="auto").all()
    wider = Search(tmp_path, "a=1,2,3", sampler="grid", n_trials="auto").all()
    # What ran before is known by its run folder, so the pool starts nothing for it.
    assert [trial.number for trial in wider] == [2, 3, 4]


def test_the_same_seed_suggests_the_same_trials(tmp_path) -> None:
    one, two = Search(tmp_path / "one").all(), Search(tmp_path / "two").all()
    other = Search(tmp_path / "three", seed=7).all()
    assert ids(one) == ids(two) != ids(other)
