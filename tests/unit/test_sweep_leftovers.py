"""A sweep that goes on with other values, another metric or other steps."""

import pytest

from rlagent.config.command import parse_command
from rlagent.machine.resources import Machine
from rlagent.records.objective import ranked
from rlagent.records.sweep_store import FAILED, FINISHED, Sweep, SweepFolder
from rlagent.report.sweep_data import load_sweep, places
from rlagent.report.sweep_text import sweep_csv, sweep_markdown
from rlagent.sweep import grid
from rlagent.sweep.closing import closing_words
from rlagent.sweep.main import Setup, _earlier, _sweep, folder_of
from rlagent.sweep.source import row_of

LAPTOP = Machine((), 8, 64.0)


def launched(root, *words: str) -> tuple[Sweep, SweepFolder, list]:
    """The sweep as a launch finds it, its folder and the trials asked for."""
    typed = ["-m", "+experiment=gsm8k_react", "hardware=cpu", f"run.dir={root}", *words]
    command = parse_command(typed)
    base = command.draft(multirun=True)
    trials = grid.plan(command, LAPTOP, base).trials
    setup = Setup(command, base.config, LAPTOP, "grid", ["seed"])
    folder = folder_of(setup)
    return _sweep(setup, folder, trials, True, _earlier(folder)[0]), folder, trials


@pytest.fixture
def earlier(tmp_path):
    """Seeds 1 to 3, finished after 5 steps: the third is the best, and the slowest."""
    sweep, folder, trials = launched(tmp_path, "seed=1,2,3", "algorithm.total_steps=5")
    for row, trial in zip(sweep.trials, trials, strict=True):
        assert row == row_of(trial, folder)
        run, seed = folder.run_folder(row), trial.params["seed"]
        run.new_attempt()
        run.append_metrics("explorer", 5, {"eval/success": seed / 10})
        run.append_metrics("driver", 5, {"time/step": seed * 2.0})
        run.write_status(state="finished", steps_asked=5, steps_trained=5)
        row.state, row.objective = FINISHED, seed / 10
    folder.write(sweep)
    return tmp_path


def by_seed(sweep: Sweep) -> dict[int, float | None]:
    return {row.params["seed"]: row.objective for row in sweep.trials}


def test_trials_not_asked_for_are_ranked_by_the_metric_of_now(earlier) -> None:
    words = ("sweep.metric=time/step", "sweep.direction=minimize")
    sweep, _, _ = launched(earlier, "seed=1,2", "algorithm.total_steps=5", *words)
    assert by_seed(sweep)[3] == 6.0
    for row in sweep.trials[:2]:
        # As the pool finds them.
        row.objective = row.params["seed"] * 2.0
    best = sweep.best()
    assert best is not None
    assert best.params == {"seed": 1}
    assert [row.params["seed"] for row in ranked(sweep)] == [1, 2, 3]


def test_trials_not_asked_for_keep_what_is_still_comparable(earlier) -> None:
    sweep, _, _ = launched(earlier, "seed=1,2", "algorithm.total_steps=5")
    assert by_seed(sweep)[3] == 0.3
    assert closing_words(sweep, SweepFolder(earlier))[3].endswith("seed=3")


def test_trials_of_other_steps_are_not_ranked_anywhere(earlier) -> None:
    sweep, folder, _ = launched(earlier, "seed=1,2", "algorithm.total_steps=10")
    folder.write(sweep)
    reason = "asked for 5 steps, now for 10"
    assert [row.unranked for row in sweep.trials] == ["", "", reason]
    assert [row.params["seed"] for row in ranked(sweep)] == [2, 1]
    assert f"not ranked, {reason}: trial 3" in closing_words(sweep, folder)
    data = load_sweep(folder)
    assert data.best is not None
    assert data.best.params == {"seed": 2}
    assert places(data.sweep) == {1: 1, 0: 2}
    last = sweep_csv(data).splitlines()[-1]
    assert ",finished,,eval/success," in last
    assert last.endswith(f'"{reason}"')
    assert f"not ranked, {reason}: trial 3" in sweep_markdown(data)
    # Asked for again, or compared with its like, it is ranked again.
    sweep, _, _ = launched(earlier, "seed=1,2", "algorithm.total_steps=5")
    assert (sweep.trials[2].unranked, sweep.trials[2].objective) == ("", 0.3)


def test_a_trial_without_a_run_folder_is_not_ranked(earlier) -> None:
    sweep, folder, _ = launched(earlier, "seed=1,2", "algorithm.total_steps=5")
    folder.run_folder(sweep.trials[2]).status_json.unlink()
    sweep, _, _ = launched(earlier, "seed=1,2", "algorithm.total_steps=5")
    assert "not known" in sweep.trials[2].unranked


def test_a_failed_trial_that_is_not_asked_for_has_no_objective(earlier) -> None:
    sweep, folder, _ = launched(earlier, "seed=1,2,3", "algorithm.total_steps=5")
    sweep.trials[2].state = FAILED
    folder.write(sweep)
    sweep, _, _ = launched(earlier, "seed=1,2", "algorithm.total_steps=5")
    assert (sweep.trials[2].objective, sweep.trials[2].unranked) == (None, "")
