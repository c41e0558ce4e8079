"""W&B holds a run of every trial, also of one whose process died before its driver had begun."""

import pytest

from rlagent import sync
from rlagent.launch.watch import run_info
from rlagent.records.folder import RunFolder
from rlagent.records.mirror import make_mirror
from tests.cpu.wandb_reader import OfflineRun
from tests.unit.test_unmirrored import failed, made, trial_of


@pytest.fixture(autouse=True)
def no_account(tmp_path, monkeypatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def recorded(run: RunFolder) -> OfflineRun:
    (directory,) = run.wandb_dir.glob("offline-run-*")
    return OfflineRun(directory)


@pytest.mark.parametrize("status", [{}, {"state": "starting", "pid": 2**22 + 1}])
def test_a_trial_killed_before_its_mirror_began_has_a_run_that_says_so(tmp_path, status, capsys):
    trial = trial_of(tmp_path)
    folder, row = failed(tmp_path, trial)
    run = folder.run_folder(row)
    if status:
        run.write_status(**status)
    assert made(tmp_path, trial) == []
    found = recorded(run)
    assert (found.run.run_group, found.run.display_name) == ("sweep-x", "seed=0")
    assert set(found.run.tags) == {trial.resolved.config.run.name, "tiny", row.layout}
    assert found.config["seed"] == 0
    assert (found.summary["status"], found.summary["failure_class"]) == ("failed", "killed")
    assert (found.summary["cause"], found.exit_code) == (row.cause, -9)
    # Nobody else writes it, and it is uploaded with the others.
    assert run.read_status().get("state") == status.get("state")
    assert sync.main(["--root", str(tmp_path / "outputs"), "--dry-run"]) == 0
    assert "1 offline W&B runs to upload" in capsys.readouterr().out


def test_the_next_try_of_the_trial_goes_on_with_that_run(tmp_path):
    trial = trial_of(tmp_path)
    folder, row = failed(tmp_path, trial)
    made(tmp_path, trial)
    run = folder.run_folder(row)
    first = recorded(run).run.run_id
    run.new_attempt()
    mirror = make_mirror(trial.resolved.config.monitor, run, pytest.fail)
    mirror.start(run_info(trial.resolved, run, resumed_from=0))
    run.append_metrics("trainer", 1, {"loss": 1.0})
    run.write_status(state="finished", exit_code=0)
    mirror.finish(run.read_status())
    again = recorded(run)
    assert again.run.run_id == first
    assert [entry["loss"] for entry in again.history] == [1.0]
    assert (again.summary["status"], again.summary.get("failure_class")) == ("finished", None)
