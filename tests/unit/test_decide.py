"""What the same command does the second time."""

import time

import pytest

from rlagent.config.resolve import resolve
from rlagent.launch.decide import Action, decide
from rlagent.launch.record import make_record
from rlagent.machine.resources import GPU, Machine
from tests.configured import configured

RECORD = {"layout": "1x1+1", "model": "m", "engine": "vllm", "workflow": "w", "dataset": "d"}
DONE = {
    "state": "finished",
    "steps_trained": 10,
    "updated": 0,
    "success_before": 0.3,
    "success_after": 0.9,
}
CUT_OFF = {"state": "failed", "steps_trained": 3}
NOT_BEGUN = {"state": "failed", "steps_trained": 0}


def _decide(status, total_steps=10, fresh=False, resume_changed=False, old=RECORD, **differing):
    return decide(status, old, {**RECORD, **differing}, total_steps, fresh, resume_changed)


def test_an_empty_folder_starts():
    assert _decide({}, old=None).action is Action.START


def test_a_finished_run_has_nothing_to_do_and_says_what_it_reached():
    decision = _decide(DONE)
    assert decision.action is Action.NOTHING
    assert "30.0 % -> 90.0 %" in decision.words
    assert "run.fresh=true" in decision.words


def test_more_steps_continue_a_finished_run():
    assert _decide(DONE, total_steps=20).action is Action.RESUME


def test_what_is_said_of_each_decision():
    done, both = {**DONE, "updated": 1.7e9}, {"workflow": "x", "dataset": "y"}
    day = time.strftime("%Y-%m-%d %H:%M", time.localtime(1.7e9))
    assert _decide(done).words == (
        f"done on {day}, success 30.0 % -> 90.0 %; again with run.fresh=true"
    )
    assert "success 0.0 % -> 90.0 %" in _decide({**done, "success_before": 0.0}).words
    for missing in ("success_before", "success_after"):
        unmeasured = {key: value for key, value in done.items() if key != missing}
        assert _decide(unmeasured).words == f"done on {day}; again with run.fresh=true"
    assert _decide(done, fresh=True).words == (
        "run.fresh: the earlier run is kept beside, with a number"
    )
    assert _decide(done, **both).words == (
        "the workflow and the dataset changed since the run finished: it starts from scratch, the "
        "old one is kept"
    )
    assert _decide(NOT_BEGUN, **both).words == (
        "the workflow and the dataset changed since this run began; nothing is trained yet: it "
        "starts from scratch, the old one is kept"
    )
    assert _decide(CUT_OFF, model="n", engine="external").words == (
        "this run began with the model m and the engine vllm, now it is n and external; resume it "
        "where that is chosen again, or start from scratch with run.fresh=true"
    )
    assert _decide(CUT_OFF, **both).words == (
        "this run began with another state of the workflow and of the dataset; undo the change, "
        "resume all the same with run.resume_changed=true, or start from scratch with "
        "run.fresh=true"
    )
    assert _decide(CUT_OFF, resume_changed=True, **both).words == (
        "note: the workflow and the dataset changed since it began; tasks that are kept in the "
        "folder data/ of the run stay those it began with"
    )
    for quiet in (_decide({}, old=None), _decide(CUT_OFF), _decide(DONE, total_steps=20)):
        assert quiet.words == ""


def test_what_was_edited_is_refused_unless_asked_for():
    new = {**RECORD, "workflow": "other"}
    assert decide(CUT_OFF, RECORD, new, 10, fresh=False).action is Action.REFUSE


def test_fresh_sets_a_run_aside_in_any_state():
    for status in (DONE, CUT_OFF, {}):
        assert _decide(status, fresh=True).action is Action.FROM_SCRATCH


def test_an_unfinished_run_resumes():
    for state in ("failed", "stopped", "interrupted", "running", "starting"):
        assert _decide({"state": state, "steps_trained": 3}).action is Action.RESUME


@pytest.mark.parametrize("key", ["workflow", "dataset", "model", "engine"])
def test_a_result_is_not_that_of_anything_else_than_was_run(key):
    for total_steps in (10, 20):
        decision = _decide(DONE, total_steps, **{key: "other"})
        assert decision.action is Action.FROM_SCRATCH
        assert f"the {key}" in decision.words
        assert "the old one is kept" in decision.words


def test_a_result_stays_one_on_another_layout_but_does_not_go_on_there():
    assert _decide(DONE, layout="2x1+2").action is Action.NOTHING
    assert _decide(DONE, 20, layout="2x1+2").action is Action.REFUSE


@pytest.mark.parametrize("key", ["workflow", "dataset"])
def test_an_unfinished_run_goes_on_with_what_was_edited_only_when_that_is_asked_for(key):
    decision = _decide(CUT_OFF, **{key: "other"})
    assert decision.action is Action.REFUSE
    assert f"another state of the {key}" in decision.words
    assert "run.resume_changed=true" in decision.words
    assert "run.fresh=true" in decision.words
    asked = _decide(CUT_OFF, resume_changed=True, **{key: "other"})
    assert asked.action is Action.RESUME
    assert f"the {key} changed" in asked.words
    assert ("stay those it began with" in asked.words) == (key == "dataset")


@pytest.mark.parametrize("key", ["model", "engine", "layout"])
def test_a_run_goes_on_with_nothing_but_what_auto_became_at_first(key):
    for resume_changed in (False, True):
        decision = _decide(CUT_OFF, resume_changed=resume_changed, **{key: "other"})
        assert decision.action is Action.REFUSE
        assert f"this run began with the {key} {RECORD[key]}, now it is other" in decision.words
        assert "run.fresh=true" in decision.words


def test_a_run_begun_on_a_cpu_does_not_go_on_with_what_auto_takes_on_gpus():
    machines = Machine((), 2, 24), Machine((GPU("H100", 80),), 64, 512)
    here, there = (resolve(configured(), machine) for machine in machines)
    assert here.trial_id == there.trial_id
    old, new = make_record(here, None), make_record(there, None)
    made = decide({"state": "stopped", "steps_trained": 3}, old, new, 60, fresh=False)
    assert made.action is Action.REFUSE
    assert "builtin:tiny" in made.words
    assert "Qwen/" in made.words


@pytest.mark.parametrize("key", list(RECORD))
def test_a_run_without_a_trained_step_starts_from_scratch_with_what_is_there_now(key):
    decision = _decide(NOT_BEGUN, **{key: "other"})
    assert decision.action is Action.FROM_SCRATCH
    assert f"the {key}" in decision.words
    assert _decide(NOT_BEGUN).action is Action.RESUME


def test_a_run_whose_status_was_lost_does_not_go_on_with_anything_else():
    assert _decide({}).action is Action.RESUME
    assert _decide({}, workflow="other").action is Action.REFUSE


def test_what_a_record_of_an_older_version_lacks_is_not_known_to_differ():
    old = {key: value for key, value in RECORD.items() if key != "engine"}
    assert _decide(CUT_OFF, old=old).action is Action.RESUME


def test_a_models_folder_is_one_however_it_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m").mkdir()
    old = {**RECORD, "model": "./m"}
    assert _decide(CUT_OFF, old=old, model=str(tmp_path / "m")).action is Action.RESUME
