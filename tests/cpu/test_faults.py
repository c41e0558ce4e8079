"""A few lines of the table of faults (`make faults`): nothing is lost, nothing is left open."""

import pytest

from benchmarks.faults.cases import cases
from benchmarks.faults.measure import measure

CASES = {case.name: case for case in cases()}


def _row(name, directory, resume=False):
    return measure(CASES[name], directory, patience=240, resume=resume)


@pytest.mark.slow
def test_a_run_outlives_the_death_of_rays_head_and_says_so(tmp_path):
    row = _row("kill -9 gcs @ training", tmp_path / "run")
    assert row.status == "failed (1)", row
    assert "Ray's gcs_server" in row.cause
    assert "was killed by SIGKILL" in row.cause
    assert row.left_over == ""


@pytest.mark.slow
@pytest.mark.parametrize("role", ["trainer", "explorer", "engine"])
def test_a_frozen_role_is_named_with_what_it_did(tmp_path, role):
    row = _row(f"SIGSTOP {role} @ training", tmp_path / "run")
    assert row.status == "failed (1)", row
    assert f"the {role} stands still since" in row.cause
    assert "is stopped (state T" in row.cause
    assert row.left_over == ""
    (log,) = (tmp_path / "run").glob("outputs/*-*/attempts/1/driver.log")
    assert f"stack of the {role}" in log.read_text()


@pytest.mark.slow
def test_a_closed_terminal_saves_the_run_and_the_same_command_goes_on(tmp_path):
    row = _row("SIGHUP driver @ training", tmp_path / "run", resume=True)
    assert row.status == "stopped (1)", row
    assert "SIGHUP" in row.cause
    assert row.left_over == ""
    saved, _, resumed = row.resumed.partition(" -> ")
    assert saved == resumed != "0"


@pytest.mark.slow
def test_a_reader_that_goes_away_does_not_end_the_training(tmp_path):
    row = _row("closed pipe (`| head -1`) @ throughout", tmp_path / "run")
    assert row.status == "finished (0)", row


@pytest.mark.slow
@pytest.mark.parametrize(
    "file",
    ["manifest of another type", "latest_checkpointed_iteration names step 9", "half status.json"],
)
def test_a_damaged_file_costs_no_more_than_the_newest_checkpoint(tmp_path, file):
    row = _row(f"{file} @ resuming", tmp_path / "run")
    assert row.status == "finished (0)", row
    assert row.resumed in ("2 -> 2", "2 -> 1")


def test_no_case_stands_twice_in_the_table():
    assert len(CASES) == len(cases())
