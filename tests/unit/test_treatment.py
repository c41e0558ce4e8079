"""What becomes of a rollout: the table of docs/rollouts.md, row by row."""

import pytest

from rlagent.base.treatment import Treatment, TruncatedError, treatment
from rlagent.config.resolve import resolve
from rlagent.machine.resources import Machine
from rlagent.trinity.translate import to_trinity
from tests.configured import configured

ERROR = ValueError("no reward")


def decided(outcome, **what) -> Treatment:
    asked = {"outgrown": False, "truncated": False, "evaluated": False} | what
    options = asked.pop("options", {"overlong_reward": 0.0, "truncated": "train"})
    return treatment(options, outcome, **asked)


@pytest.mark.parametrize("evaluated", [False, True])
def test_a_reward_is_trained_on_and_an_error_leaves_the_rollout_out(evaluated: bool) -> None:
    assert decided(0.5, evaluated=evaluated) == Treatment(0.5)
    assert decided(ERROR, evaluated=evaluated) == Treatment(None, ERROR)


def test_an_endless_conversation_earns_what_is_set_or_is_left_out() -> None:
    assert decided(ERROR, outgrown=True) == Treatment(0.0, overlong=True)
    without = {"overlong_reward": None}
    assert decided(ERROR, outgrown=True, options=without) == Treatment(None, ERROR)


def test_a_response_that_was_cut_is_treated_as_set_in_training_alone() -> None:
    def cut(how: str, outcome=1.0, evaluated: bool = False) -> Treatment:
        options = {"overlong_reward": 0.0, "truncated": how}
        return decided(outcome, truncated=True, evaluated=evaluated, options=options)

    assert cut("train") == Treatment(1.0)
    assert cut("mask") == Treatment(1.0, masked=True)
    dropped = cut("drop")
    assert dropped.reward is None
    assert isinstance(dropped.cause, TruncatedError)
    assert cut("drop", evaluated=True) == cut("mask", evaluated=True) == Treatment(1.0)
    # What raised is another matter, whatever was cut.
    assert cut("drop", ERROR) == Treatment(None, ERROR)


def test_masking_is_trinitys_own() -> None:
    tree = to_trinity(resolve(configured("workflow.truncated=mask"), Machine((), 2, 24)), "/runs/1")
    operators = tree["data_processor"]["experience_pipeline"]["operators"]
    assert operators == [{"name": "mask_response_truncated"}]
