"""A trial whose driver wrote no page gets one with the report of its sweep, which links to it."""

import os

import pytest

from rlagent.records.folder import RunFolder
from rlagent.records.sweep_store import SweepFolder
from rlagent.report import main
from rlagent.report.sweep import write_sweep_report
from rlagent.report.sweep_data import load_sweep
from tests.fabricated_sweep import fabricate_sweep

AFTER = 10**9
"""Nanoseconds between two files that tests set apart."""


@pytest.fixture
def sweep(tmp_path) -> SweepFolder:
    return fabricate_sweep(tmp_path, trials=3, failed=0, steps=3)


def first_run(sweep: SweepFolder) -> RunFolder:
    return sweep.run_folder(sweep.read().trials[0])


def status_comes_after_the_page(run: RunFolder) -> None:
    when = run.report_html.stat().st_mtime_ns + AFTER
    os.utime(run.status_json, ns=(when, when))


def test_a_trial_whose_driver_was_killed_has_a_page_that_the_sweeps_report_links_to(sweep):
    run = first_run(sweep)
    run.report_html.unlink()
    # As a driver that was killed leaves it: no process has this number.
    run.write_status(state="running", pid=2**22 + 1)
    write_sweep_report(sweep, pytest.fail)
    assert "its process ended without a final status" in run.report_html.read_text()
    assert run.reward_png.is_file()
    page = load_sweep(sweep).trials[0].page
    assert page is not None
    assert f'href="{page}"' in sweep.report_html.read_text()


def test_a_trial_that_still_runs_gets_no_page(sweep):
    run = first_run(sweep)
    run.report_html.unlink()
    run.write_status(state="running", pid=os.getpid())
    write_sweep_report(sweep, pytest.fail)
    assert not run.report_html.exists()


def test_a_page_is_written_again_only_where_the_run_has_gone_on(sweep):
    run = first_run(sweep)
    kept = run.report_html.read_text()
    write_sweep_report(sweep, pytest.fail)
    assert run.report_html.read_text() == kept
    status_comes_after_the_page(run)
    write_sweep_report(sweep, pytest.fail)
    assert "How it ended" in run.report_html.read_text()


def test_a_page_that_cannot_be_written_is_said_and_costs_no_other(sweep, capsys):
    first, second, _ = (sweep.run_folder(row) for row in sweep.read().trials)
    first.report_html.unlink()
    first.report_html.mkdir()
    status_comes_after_the_page(second)
    said: list[str] = []
    write_sweep_report(sweep, said.append)
    assert len(said) == 1
    assert said[0].startswith(f"trial 1: {first.report_html} could not be written: IsADirectory")
    assert "How it ended" in second.report_html.read_text()
    assert "Learning curves" in sweep.report_html.read_text()
    assert main([str(sweep.path), "--format", "html"]) == 0
    assert said[0] in capsys.readouterr().err
