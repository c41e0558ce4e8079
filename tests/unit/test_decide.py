"""What the same command does the second time."""

from rlagent.trinity.decide import Action, decide

RECORD = {"layout": "1x1+1", "workflow": "w", "dataset": "d"}
DONE = {
    "state": "finished",
    "steps_trained": 10,
    "updated": 0,
    "success_before": 0.3,
    "success_after": 0.9,
}


def _decide(status, old=RECORD, new=RECORD, total_steps=10, fresh=False):
    return decide(status, old, new, total_steps, fresh)


def test_an_empty_folder_starts():
    assert _decide({}, old=None).action is Action.START


def test_a_finished_run_has_nothing_to_do_and_says_what_it_reached():
    decision = _decide(DONE)
    assert decision.action is Action.NOTHING
    assert "30.0 % -> 90.0 %" in decision.words
    assert "run.fresh=true" in decision.words


def test_more_steps_continue_a_finished_run():
    assert _decide(DONE, total_steps=20).action is Action.RESUME


def test_fresh_sets_a_run_aside_in_any_state():
    for status in (DONE, {"state": "failed", "steps_trained": 3}):
        assert _decide(status, fresh=True).action is Action.ANEW


def test_an_unfinished_run_resumes():
    for state in ("failed", "stopped", "interrupted", "running", "starting"):
        assert _decide({"state": state, "steps_trained": 3}).action is Action.RESUME


def test_a_finished_run_whose_workflow_changed_starts_anew_and_says_so():
    decision = _decide(DONE, new={**RECORD, "workflow": "other"})
    assert decision.action is Action.ANEW
    assert "the workflow changed" in decision.words


def test_an_unfinished_run_whose_dataset_changed_resumes_and_says_so():
    status = {"state": "failed", "steps_trained": 3}
    decision = _decide(status, new={**RECORD, "dataset": "other"})
    assert decision.action is Action.RESUME
    assert "the dataset changed" in decision.words


def test_another_layout_is_refused_with_the_remedy():
    status = {"state": "failed", "steps_trained": 3}
    decision = _decide(status, new={**RECORD, "layout": "2x1+2"})
    assert decision.action is Action.REFUSE
    assert "hardware.layout=1x1+1" in decision.words
    assert "run.fresh=true" in decision.words
