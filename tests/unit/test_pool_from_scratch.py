"""What the pool makes of run folders that it finds: done, to be resumed, or set aside."""

from pathlib import Path

import pytest

from rlagent.records.folder import RunFolder
from rlagent.records.sweep_store import SweepFolder
from rlagent.sweep.child import Child
from rlagent.sweep.common import is_done, is_from_scratch
from rlagent.sweep.options import Done, Options
from rlagent.sweep.shares import Resources, Share
from rlagent.sweep.source import Trial, row_of
from tests import stand_in
from tests.unit.test_pool import Recorded, run


def old_run(one: Trial, **status) -> RunFolder:
    """Leave an earlier run of a trial."""
    folder = RunFolder(Path(one.resolved.config.run.dir) / one.folder_name)
    for step in range(1, 7):
        folder.append_metrics("explorer", step, {"eval/success": 0.9})
        folder.append_metrics("trainer", step, {})
    folder.write_status(steps_trained=6, **status)
    return folder


@pytest.mark.parametrize("by", ["run.fresh", "is_from_scratch"])
def test_a_run_that_starts_from_scratch_is_followed_from_its_own_beginning(
    by: str, tmp_path
) -> None:
    one = stand_in.trial(tmp_path, 0, "from scratch")
    old_run(one, state="finished")
    one.resolved.config.run.fresh = by == "run.fresh"
    source, from_scratch = Recorded([one]), lambda trial, folder: by == "is_from_scratch"
    code, _, text = run(tmp_path, [one], source=source, is_from_scratch=from_scratch)
    # Nothing of the earlier run, and all of the new one, whose file is the shorter.
    assert (code, source.values) == (0, [(0, 1, 0.01), (0, 2, 0.02)])
    assert "starts" in text
    assert "resumes" not in text


def test_a_run_that_is_set_aside_unexpectedly_counts_from_nothing(tmp_path) -> None:
    one = stand_in.trial(tmp_path, 0)
    folder = old_run(one, state="failed")
    child = Child(one, row_of(one, SweepFolder(tmp_path)), Share((), 1), folder, tmp_path / "log")
    assert (child.progress.step, child.look()) == (6, [])
    folder.metrics_jsonl.rename(tmp_path / "aside")
    folder.append_metrics("trainer", 1, {})
    assert [row["step"] for row in child.look()] == [1]
    assert child.progress.step == 1


def test_a_run_that_is_resumed_tells_what_it_had_measured(tmp_path) -> None:
    one = stand_in.trial(tmp_path, 0)
    folder = RunFolder(tmp_path / "outputs" / one.folder_name)
    folder.append_metrics("explorer", 0, {"eval/success": 0.9})
    folder.write_status(state="failed")
    source = Recorded([one])
    assert run(tmp_path, [one], source=source)[0] == 0
    assert source.values == [(0, 0, 0.9), (0, 1, 0.01), (0, 2, 0.02)]


def test_whether_a_trial_that_waits_is_done_is_asked_once(tmp_path) -> None:
    asked = []

    def never(trial: Trial, folder: RunFolder) -> bool:
        asked.append(trial.number)
        return False

    trials = [stand_in.trial(tmp_path, number) for number in range(3)]
    assert run(tmp_path, trials, Resources((), 4, 1e6, most=1), is_done=never)[0] == 0
    assert asked == [0, 1, 2]


def test_whether_a_trial_is_done_is_asked_again_when_its_run_has_gone_on(tmp_path) -> None:
    one, asked = stand_in.trial(tmp_path, 0), []

    def finished(trial: Trial, folder: RunFolder) -> bool:
        asked.append(folder.read_status().get("state"))
        return asked[-1] == "finished"

    done = Done(Options(argv=stand_in.argv, is_done=finished))
    folder = RunFolder(tmp_path / "outputs" / one.folder_name)
    assert not done.holds(one, folder)
    assert not done.holds(one, folder)
    folder.write_status(state="running")
    assert not done.holds(one, folder)
    folder.write_status(state="finished")
    assert done.holds(one, folder)
    assert asked == [None, "running", "finished"]


def test_a_finished_run_is_done_until_more_is_asked(tmp_path) -> None:
    from rlagent.launch.record import make_record, write_record

    one = stand_in.trial(tmp_path, 0)
    folder = RunFolder(tmp_path / "outputs" / one.folder_name)
    assert not is_done(one, folder)
    folder.write_status(state="finished", steps_trained=2)
    write_record(folder, make_record(one.resolved, None))
    assert is_done(one, folder)
    one.resolved.config.algorithm.total_steps = 3
    assert not is_done(one, folder)
    assert not is_from_scratch(one, folder)


def test_a_finished_run_starts_from_scratch_when_its_workflow_has_changed(tmp_path) -> None:
    from rlagent.launch.record import make_record, write_record

    one = stand_in.trial(tmp_path, 0)
    folder = RunFolder(tmp_path / "outputs" / one.folder_name)
    folder.write_status(state="finished", steps_trained=2)
    write_record(folder, {**make_record(one.resolved, None), "workflow": "another"})
    assert is_from_scratch(one, folder)
    assert not is_done(one, folder)
    folder.write_status(state="failed")
    assert not is_from_scratch(one, folder)
