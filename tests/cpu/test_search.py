"""A search of real trials: pruned by held-out success, and continued by the same command."""

import subprocess
from pathlib import Path

import optuna
import pytest

from rlagent.records.sweep_store import SweepFolder
from rlagent.sweep.search.study import open_storage
from tests.cpu.runs import REPOSITORY, command, environment, ray_processes

SEARCH = (
    "-m",
    "+sweep=optuna_lr",
    "monitor=local",
    "algorithm.total_steps=2",
    "algorithm.eval_interval=1",
    "dataset.eval_tasks=8",
    "sweep.startup_trials=1",
)


def search(directory: Path, *overrides: str) -> tuple[SweepFolder, optuna.Study, str]:
    """Run the search to its end; returns its folder, its study and what was printed."""
    done = subprocess.run(
        command(directory, *SEARCH, *overrides),
        cwd=REPOSITORY,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (directory / "outputs").glob("sweep-*")
    storage = open_storage(path)
    (name,) = optuna.get_all_study_names(storage)
    return SweepFolder(path), optuna.load_study(study_name=name, storage=storage), done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_search_of_real_trials_is_continued_by_the_same_command(tmp_path) -> None:
    folder, study, output = search(tmp_path, "sweep.n_trials=2")
    assert "search: maximize eval/success in 2 trials (tpe, pruned by asha)" in output
    first = folder.read().trials
    assert len(first) == len(study.trials) == 2
    folder, study, _ = search(tmp_path, "sweep.n_trials=4")
    rows = folder.read().trials
    assert [row.number for row in rows] == [0, 1, 2, 3]
    # What was done is left alone.
    assert [row.started for row in rows[:2]] == [row.started for row in first]
    states = {"finished": "COMPLETE", "pruned": "PRUNED"}
    assert [trial.state.name for trial in study.trials] == [states[row.state] for row in rows]
    for row, trial in zip(rows, study.trials, strict=True):
        assert 1e-5 <= row.params["algorithm.lr"] <= 1e-3
        assert row.params["algorithm.lr"] == pytest.approx(trial.params["algorithm.lr"], rel=1e-5)
        assert row.objective == trial.value
        metrics = folder.run_folder(row).read_metrics("explorer")
        measured = {
            each["step"]: each["metrics"]["eval/success"]
            for each in metrics
            if "eval/success" in each["metrics"]
        }
        assert trial.intermediate_values.items() <= measured.items()
        assert 1 in trial.intermediate_values
    assert not ray_processes()
