"""A search and the pool together, with processes that stand in for the trainer."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import optuna

from rlagent.base.errors import ConfigError, Problem
from rlagent.config.schema import SweepConfig
from rlagent.records.sweep_store import Sweep, SweepFolder
from rlagent.sweep.live_table import PlainLines
from rlagent.sweep.options import Options
from rlagent.sweep.pool import run_sweep
from rlagent.sweep.search.space import Space, parse_space
from rlagent.sweep.search.study import OptunaSource, open_storage
from rlagent.sweep.shares import Resources
from rlagent.sweep.source import Need, Trial
from tests import stand_in

CORE = Need(cores=1)


def search(root: Path, space: Space, behaviours: dict[str, str], most: int = 2, **settings):
    """Run a search over seeds; returns exit status, sweep and study."""

    def make(number: int, values: Sequence[str]) -> Trial:
        behaviour = behaviours.get(values[0], "finish")
        if behaviour == "illegal":
            raise ConfigError([Problem("seed", values[0], "is not legal")])
        return replace(stand_in.trial(root, int(values[0]), behaviour), number=number)

    folder = SweepFolder(root / "outputs" / "sweep-s")
    source = OptunaSource(
        folder.path,
        space,
        SweepConfig(sampler="grid", **settings),
        steps=3,
        interval=1,
        make=make,
    )
    sweep = Sweep("sweep-s", "s", [], trials=folder.read().trials if folder.exists() else [])
    options = Options(stand_in.argv, env=stand_in.environment(), least=CORE)
    resources = Resources((), 8, 1e6, most)
    code = run_sweep(folder, sweep, source, resources, options, PlainLines(io.StringIO()))
    storage = open_storage(folder.path)
    (name,) = optuna.get_all_study_names(storage)
    return code, sweep, optuna.load_study(study_name=name, storage=storage)


def states(study: optuna.Study) -> list[str]:
    return [trial.state.name for trial in study.trials]


def test_a_search_learns_from_the_run_folders_and_goes_on_where_it_was(tmp_path) -> None:
    space = parse_space(["seed=range(1,6)"])
    code, sweep, study = search(tmp_path, space, {"2": "fail_once"}, n_trials=3)
    assert (code, states(study)) == (1, ["COMPLETE", "FAIL", "COMPLETE"])
    # Seed s has (s + step) / 100 at its last step, the second.
    assert [trial.value for trial in study.trials] == [0.03, None, 0.05]
    assert study.trials[0].intermediate_values == {1: 0.02, 2: 0.03}
    # The same command with more trials: the failed one again, and those that are new.
    code, sweep, study = search(tmp_path, space, {"2": "fail_once"}, n_trials=5)
    assert (code, [row.state for row in sweep.trials]) == (0, ["finished"] * 5)
    assert sorted(row.number for row in sweep.trials) == [0, 1, 2, 3, 4]
    assert states(study) == ["COMPLETE", "FAIL", *["COMPLETE"] * 4]
    assert study.best_value == 0.07


def test_a_trial_behind_is_pruned_while_it_runs(tmp_path) -> None:
    space = parse_space(["seed=5,1"])
    code, sweep, study = search(tmp_path, space, {"1": "wait"}, most=1, n_trials=2, pruner="asha")
    assert (code, [row.state for row in sweep.trials]) == (0, ["finished", "pruned"])
    assert states(study) == ["COMPLETE", "PRUNED"]
    assert study.trials[1].value == 0.02


def test_as_many_trials_as_fit_run_at_once_and_the_next_is_asked_when_one_ends(tmp_path) -> None:
    space = parse_space(["seed=range(1,5)"])
    code, _, study = search(tmp_path, space, {}, most=2, n_trials=4)
    asked = [trial.number for trial in study.trials]
    assert (code, asked) == (0, [0, 1, 2, 3])
    started = [trial.datetime_start for trial in study.trials]
    ended = sorted(trial.datetime_complete for trial in study.trials)
    # The second does not wait for the first; the third is suggested when one of them has ended.
    assert started[1] < ended[0] < started[2]
    assert ended[1] < started[3]


def test_a_search_without_a_legal_suggestion_has_failed_also_when_it_is_continued(tmp_path) -> None:
    space, none = parse_space(["seed=1,2"]), {"1": "illegal", "2": "illegal"}
    for _ in range(2):
        code, sweep, study = search(tmp_path, space, none, n_trials=2)
        assert (code, sweep.state, sweep.trials) == (1, "failed", [])
        assert states(study) == ["FAIL", "FAIL"]


def test_illegal_suggestions_among_others_leave_the_exit_status_alone(tmp_path) -> None:
    space = parse_space(["seed=1,2"])
    for _ in range(2):
        code, sweep, study = search(tmp_path, space, {"1": "illegal"}, n_trials=2)
        assert (code, sweep.state) == (0, "finished")
        assert states(study) == ["FAIL", "COMPLETE"]
