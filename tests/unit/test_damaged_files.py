"""A damaged file costs a sentence with the remedy; what is whole beside it is used."""

import json

import pytest

from rlagent import report, runs, stop, sync
from rlagent.base.lock import locked
from rlagent.launch.launch import _keep_what_is_whole
from rlagent.launch.record import read_record, write_record
from rlagent.records.files import DamagedError
from rlagent.records.folder import RunFolder
from rlagent.records.sweep_store import NewerError, SweepFolder
from rlagent.sweep.main import _earlier, _holder
from tests.fabricated_sweep import fabricate_sweep

BROKEN = ["", "[]", '{"state": "runn', '{"trials": 3}', '{"trials": [["a"]]}', "\udcff"]


@pytest.fixture
def sweep(tmp_path):
    return fabricate_sweep(tmp_path / "outputs", trials=3, steps=2, failed=0)


def _newer(folder):
    data = json.loads(folder.sweep_json.read_text())
    data["trials"][1]["energy"] = 3
    folder.sweep_json.write_text(json.dumps(data))


def _write(path, text):
    path.write_bytes(text.encode(errors="surrogateescape"))


@pytest.mark.parametrize("text", BROKEN)
@pytest.mark.parametrize("command", [report, stop, sync])
def test_a_command_says_in_a_sentence_that_a_sweep_is_damaged(sweep, capsys, command, text):
    _write(sweep.sweep_json, text)
    assert command.main([str(sweep.path)]) in (1, 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{sweep.sweep_json} is damaged" in line
    assert "the same sweep command writes it again" in line


@pytest.mark.parametrize("command", [report, stop, sync])
def test_a_command_says_that_a_newer_version_wrote_a_sweep(sweep, capsys, command):
    _newer(sweep)
    assert command.main([str(sweep.path)]) in (1, 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert "written by a newer version of rlagent, with trials.1.energy: use that" in line


def test_runs_shows_the_others_beside_a_damaged_sweep(sweep, capsys):
    _write(sweep.sweep_json, "[]")
    runs.main(["--root", str(sweep.path.parent)])
    captured = capsys.readouterr()
    assert "is damaged" in captured.err
    assert "unreadable" in captured.out
    assert captured.out.count("finished") == 3


@pytest.mark.parametrize("text", BROKEN)
def test_a_sweep_sets_its_damaged_file_aside_and_goes_on(sweep, text):
    _write(sweep.sweep_json, text)
    earlier, (line,) = _earlier(sweep)
    assert earlier is None
    assert "it is kept as sweep.json.damaged" in line
    assert not sweep.exists()
    assert (sweep.path / "sweep.json.damaged").exists()


def test_a_sweep_leaves_the_file_of_a_newer_version_alone(sweep):
    _newer(sweep)
    before = sweep.sweep_json.read_bytes()
    with pytest.raises(NewerError, match="newer version"):
        _earlier(sweep)
    assert sweep.sweep_json.read_bytes() == before


def test_a_second_launcher_is_refused_also_where_the_file_is_damaged(sweep):
    _write(sweep.sweep_json, "{")
    with locked(sweep.path):
        assert "another process, and" in _holder(sweep)


def test_a_whole_sweep_is_read_as_it_was_written(sweep):
    before = sweep.read()
    sweep.write(before)
    assert SweepFolder(sweep.path).read() == before


@pytest.mark.parametrize("text", ["", "[1]", '{"state": "runn'])
def test_a_run_goes_on_without_its_damaged_files(tmp_path, text):
    folder = RunFolder(tmp_path / "run-1")
    folder.write_status(state="running", steps_trained=2)
    write_record(folder, {"layout": "1x1+1"})
    for path in (folder.status_json, folder.path / "record.json"):
        path.write_text(text)
        with pytest.raises(DamagedError, match=r"is damaged .*the same command"):
            (folder.read_status if path == folder.status_json else lambda: read_record(folder))()
    said = []
    _keep_what_is_whole(folder, type("Said", (), {"message": staticmethod(said.append)}))
    assert len(said) == 2
    assert (folder.read_status(), read_record(folder)) == ({}, None)
    assert {path.name for path in folder.path.iterdir()} == {
        "status.json.damaged",
        "record.json.damaged",
    }


def test_the_report_of_a_sweep_is_made_beside_a_damaged_trial(sweep, capsys):
    trial = sweep.run_folder(sweep.read().trials[0])
    trial.status_json.write_text('{"state": "fin')
    assert report.main([str(sweep.path)]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{trial.status_json} is damaged" in line
    assert sweep.report_html.is_file()
