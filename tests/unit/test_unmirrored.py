"""A failed trial that its driver did not mirror gets a W&B run; that this fails harms nothing."""

import dataclasses
import sys
import threading
from pathlib import Path

import pytest

from rlagent import train
from rlagent.base.lock import locked
from rlagent.records.folder import RunFolder
from rlagent.records.mirror import Mirror, RunInfo
from rlagent.records.sweep_store import SweepFolder, TrialRow
from rlagent.sweep import unmirrored
from rlagent.sweep.source import Trial, row_of
from rlagent.sweep.unmirrored import Unmirrored
from tests import stand_in
from tests.unit.test_pool import run


class Recorder(Mirror):
    """Stands in for the mirror: remembers what it was started with."""

    def __init__(self) -> None:
        self.infos: list[RunInfo] = []
        self.told = ""
        self.broken = False
        self.began, self.may_end = threading.Event(), threading.Event()
        self.may_end.set()

    def make(self, monitor, folder, notify) -> Mirror:
        self.notify = notify
        return self

    def start(self, info: RunInfo) -> None:
        if self.broken:
            raise OSError("No space left on device")
        self.infos.append(info)
        self.began.set()
        if self.told:
            self.notify(self.told)

    def finish(self, status) -> None:
        self.may_end.wait()


@pytest.fixture
def mirror(monkeypatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(unmirrored, "make_mirror", recorder.make)
    monkeypatch.setenv("WANDB_MODE", "offline")
    return recorder


def trial_of(root: Path, behaviour: str = "die", monitor: str = "wandb", number: int = 0) -> Trial:
    trial = stand_in.trial(root, number, behaviour)
    trial.resolved.config.monitor.type = monitor
    return trial


def failed(root: Path, trial: Trial) -> tuple[SweepFolder, TrialRow]:
    folder = SweepFolder(root / "outputs" / "sweep-x")
    row = row_of(trial, folder)
    row.state, row.exit_code, row.failure, row.cause = "failed", -9, "killed", "killed (SIGKILL)"
    return folder, row


def made(root: Path, trial: Trial) -> list[str]:
    """Have a failed trial mirrored; returns what is said."""
    folder, row = failed(root, trial)
    with Unmirrored(folder) as late:
        late.failed(trial, row)
        return late.finish()


def test_the_run_says_how_the_trial_ended_and_is_named_as_the_sweeps_others(tmp_path, mirror):
    trial = trial_of(tmp_path)
    assert made(tmp_path, trial) == []
    (info,) = mirror.infos
    assert (info.trial_id, info.group, info.name) == (trial.trial_id, "sweep-x", "seed=0")
    assert (info.config["seed"], info.config["monitor"]["type"]) == (0, "wandb")
    assert info.ending == {
        "state": "failed",
        "exit_code": -9,
        "cause": "killed (SIGKILL)",
        "failure_class": "killed",
    }


@pytest.mark.parametrize("why", ["has one", "is driven", "monitor=local", "is off"])
def test_a_trial_that_needs_no_run_gets_none(tmp_path, mirror, monkeypatch, why):
    trial = trial_of(tmp_path, monitor="local" if why == "monitor=local" else "wandb")
    folder, row = failed(tmp_path, trial)
    path = folder.run_folder(row).path
    path.mkdir(parents=True)
    if why == "is off":
        monkeypatch.setenv("WANDB_MODE", "disabled")
    if why == "has one":
        RunFolder(path).wandb_id_file.write_text("0123abcd-aaaaaa\n")
    if why == "is driven":
        with locked(path):
            assert made(tmp_path, trial) == []
    else:
        assert made(tmp_path, trial) == []
    assert mirror.infos == []


def test_what_goes_wrong_is_said_with_its_trial(tmp_path, mirror):
    mirror.told = "W&B: not reachable; this run is kept offline"
    assert made(tmp_path, trial_of(tmp_path)) == [f"trial 1: {mirror.told}"]
    mirror.broken = True
    told = "trial 1: no W&B run was made of it: OSError: No space left on device"
    assert made(tmp_path, trial_of(tmp_path)) == [told]


def test_a_wandb_that_hangs_is_not_waited_for(tmp_path, mirror):
    mirror.may_end.clear()
    trials = [trial_of(tmp_path, number=number) for number in range(2)]
    with Unmirrored(failed(tmp_path, trials[0])[0]) as late:
        for trial in trials:
            late.failed(trial, failed(tmp_path, trial)[1])
        mirror.began.wait()
        lines = late.finish(patience=0.0)
    mirror.may_end.set()
    late._worker.shutdown()
    # The second is not begun any more.
    assert len(mirror.infos) == 1
    assert lines == [f"trial {number}: no W&B run was made of it within 0 s" for number in (1, 2)]


def test_a_sweep_says_at_its_end_what_wandb_lacks(tmp_path, mirror, monkeypatch, capsys):
    broken = [sys.executable, "-c", "print('broken'); raise SystemExit(1)"]
    monkeypatch.setattr("rlagent.sweep.main.command_line", lambda *given: broken)
    mirror.told = "W&B: not reachable; this run is kept offline"
    words = ["-m", "+experiment=gsm8k_react", "hardware=cpu", f"run.dir={tmp_path}", "seed=1,2"]
    assert train.main(words) == 1
    assert [info.name for info in mirror.infos] == ["seed=1", "seed=2"]
    assert f"trial 2: {mirror.told}\n" in capsys.readouterr().out


def test_the_pool_tells_of_each_trial_that_failed_for_good_once(tmp_path):
    behaviours = ("finish", "fail_once", "die", "config")
    trials = [stand_in.trial(tmp_path, n, behaviour) for n, behaviour in enumerate(behaviours)]
    told: list[tuple[int, str | None]] = []
    run(
        tmp_path,
        trials,
        retries=1,
        on_failed=lambda trial, row: told.append((trial.number, row.failure)),
    )
    assert sorted(told) == [(2, "killed"), (3, "configuration")]


def test_the_ending_that_is_kept_is_the_row_of_that_time(tmp_path, mirror):
    trial = trial_of(tmp_path)
    folder, row = failed(tmp_path, trial)
    with Unmirrored(folder) as late:
        late.failed(trial, row)
        row.wait()
        late.finish()
    assert dataclasses.asdict(mirror.infos[0])["ending"]["state"] == "failed"
