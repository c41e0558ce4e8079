"""`rlagent runs` lists what has run; `rlagent sync` uploads what was not, and says so."""

import csv
import io
import json
import os

import pytest

from rlagent import runs, sync
from rlagent.records import listing
from rlagent.records.folder import RunFolder
from tests.fabricated_sweep import fabricate_sweep


def run_of(root, name, state="finished", **fields):
    folder = RunFolder(root / name)
    folder.write_status(state=state, steps_trained=3, steps_asked=9, **fields)
    return folder


def offline(folder, name, synced=False):
    path = folder.wandb_dir / f"offline-run-{name}"
    path.mkdir(parents=True)
    (path / f"run-{name}.wandb").write_bytes(b"")
    if synced:
        (path / f"run-{name}.wandb.synced").touch()
    return path


@pytest.fixture
def no_key(monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def no_upload(_):
    raise AssertionError("nothing may be uploaded")


def test_runs_and_sweeps_are_listed_the_newest_first(tmp_path, capsys):
    run_of(tmp_path, "first-1", success_after=0.5)
    fabricate_sweep(tmp_path, trials=2, failed=1, name="sweep-s-9")
    run_of(tmp_path, "last-2", "failed")
    (tmp_path / "latest").symlink_to("first-1")
    assert runs.main(["--root", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line.split()[0] for line in lines[1:]]
    assert names[0] == "last-2"
    assert names[-1] == "first-1"
    assert "sweep-s-9" in names
    assert "latest" not in names
    assert "50.0 %" in lines[-1]
    assert "1/2 trials" in next(line for line in lines if line.startswith("sweep-s-9"))


def test_pruned_trials_count_as_done_and_failed_ones_do_not(tmp_path):
    folder = fabricate_sweep(tmp_path, trials=4, failed=1)
    sweep = folder.read()
    sweep.trials[0].state = "pruned"
    folder.write(sweep)
    entry = listing.sweep_entry(folder)
    assert (entry.done, entry.asked) == (3, 4)


def test_help_says_what_each_column_is(capsys):
    with pytest.raises(SystemExit):
        runs.main(["--help"])
    said = capsys.readouterr().out
    for head in runs.table([]).split("  "):
        assert f"\n  {head.strip()} " in said


def test_the_best_of_a_run_is_what_training_reached_not_where_it_began(tmp_path, capsys):
    folder = run_of(tmp_path, "a-1", "stopped", success_before=0.9)
    folder.append_metrics("explorer", 0, {"eval/success": 0.9})
    folder.append_metrics("explorer", 5, {"rollout/reward/mean": 0.95})
    assert listing.run_entry(folder).best is None
    assert runs.main(["--root", str(tmp_path)]) == 0
    assert "  3/9 steps  -     " in capsys.readouterr().out
    for step, success in ((10, 0.5), (20, 0.4)):
        folder.append_metrics("explorer", step, {"eval/success": success})
    assert listing.run_entry(folder).best == 0.5


def test_a_run_whose_driver_is_gone_has_died_and_a_living_one_runs(tmp_path):
    dead = run_of(tmp_path, "dead-1", "running", pid=os.getpid(), pid_ticks=1)
    alive = run_of(tmp_path, "alive-1", "running", pid=os.getpid())
    far = run_of(tmp_path, "far-1", "running", pid=1, host="elsewhere", pid_ticks=1)
    states = [listing.run_entry(folder).state for folder in (dead, alive, far)]
    assert states == ["died", "running", "running"]


def test_one_broken_folder_does_not_hide_the_others(tmp_path):
    run_of(tmp_path, "good-1")
    broken = run_of(tmp_path, "broken-1")
    broken.status_json.write_text("{")
    said = []
    found = {entry.name: entry.state for entry in listing.entries(tmp_path, said.append)}
    assert found == {"good-1": "finished", "broken-1": "unreadable"}
    (line,) = said
    assert "broken-1" in line


def test_runs_are_also_csv_and_json(tmp_path, capsys):
    run_of(tmp_path, "a-1")
    assert runs.main(["--root", str(tmp_path), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["name"] == "a-1"
    assert runs.main(["--root", str(tmp_path), "--format", "csv"]) == 0
    assert next(csv.DictReader(io.StringIO(capsys.readouterr().out)))["asked"] == "9"


def test_a_folder_that_is_not_there_exits_2(tmp_path, capsys):
    assert runs.main(["--root", str(tmp_path / "no")]) == 2
    assert "--root" in capsys.readouterr().err


def test_only_what_was_not_uploaded_and_has_ended_is_selected(tmp_path):
    done, alive = run_of(tmp_path, "a-1"), run_of(tmp_path, "b-1", "running", pid=os.getpid())
    offline(done, "1", synced=True)
    wanted = offline(done, "2")
    (done.wandb_dir / "offline-run-empty").mkdir()
    offline(alive, "3")
    found = sync.select([done, alive])
    assert (found.wanted, found.synced, found.running) == ((wanted,), 1, ("b-1",))


def test_a_run_that_goes_on_elsewhere_is_not_uploaded_half(tmp_path):
    far = run_of(tmp_path, "far-1", "running", pid=1, host="elsewhere")
    ended = run_of(tmp_path, "far-2", "finished", pid=1, host="elsewhere")
    offline(far, "1")
    wanted = offline(ended, "2")
    found = sync.select([far, ended])
    assert (found.wanted, found.running) == ((wanted,), ("far-1",))


def test_the_trials_of_a_sweep_are_meant_by_its_name(tmp_path):
    fabricate_sweep(tmp_path, trials=3, failed=0, name="sweep-s-9")
    run_of(tmp_path, "other-1")
    assert len(sync.run_folders_of(["sweep-s-9", "sweep-s-9"], str(tmp_path))) == 3
    assert len(sync.run_folders_of([], str(tmp_path))) == 4


def test_a_dry_run_shows_the_command_and_uploads_nothing(tmp_path, capsys, monkeypatch, no_key):
    monkeypatch.setattr(sync, "upload", no_upload)
    path = offline(run_of(tmp_path, "a-1"), "1")
    assert sync.main(["--root", str(tmp_path), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert f"-m wandb sync {path}" in said
    assert "no W&B key" in said


def test_without_a_key_nothing_is_uploaded_and_the_status_is_1(
    tmp_path, capsys, monkeypatch, no_key
):
    monkeypatch.setattr(sync, "upload", no_upload)
    offline(run_of(tmp_path, "a-1"), "1")
    assert sync.main(["--root", str(tmp_path)]) == 1
    assert "WANDB_API_KEY" in capsys.readouterr().err


def test_nothing_left_to_upload_is_no_failure(tmp_path, no_key):
    offline(run_of(tmp_path, "a-1"), "1", synced=True)
    assert sync.main(["--root", str(tmp_path)]) == 0


def test_only_what_wandb_has_marked_counts_as_uploaded(tmp_path, capsys):
    folder = run_of(tmp_path, "a-1")
    good, silent, bad = (offline(folder, name) for name in ("1", "2", "3"))

    def call(line):
        if line[-1] == str(good):
            (good / "run-1.wandb.synced").touch()
        return int(line[-1] == str(bad))

    assert sync.upload([good, silent, bad], call) == [silent, bad]
    said = capsys.readouterr().err
    assert "did not mark it" in said
    assert "exit status 1" in said
