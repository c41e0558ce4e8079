"""Explorer and trainer take part in the same weight syncs, however far exploring runs ahead."""

import itertools

import pytest

from rlagent.trinity.lag import syncs_left


def _explorer_syncs(start: int, last: int, lag: int, interval: int) -> int:
    """How often Trinity's explorer syncs after the steps from `start` to `last`."""
    steps = range(start + 1, last + 1)
    return sum(1 for step in steps if step > lag and (step - lag) % interval == 0)


def _trainer_syncs(start: int, last: int, interval: int) -> list[int]:
    """The steps after which Trinity's trainer syncs."""
    return [step for step in range(start + 1, last + 1) if step % interval == 0]


@pytest.mark.parametrize("last", [1, 2, 3, 7, 10])
def test_no_sync_of_the_trainer_waits_for_an_explorer_that_has_ended(last: int) -> None:
    for lag, interval in itertools.product((0, 1, 2, 3), (1, 2, 3)):
        theirs = _trainer_syncs(0, last, interval)
        done = _explorer_syncs(0, last, lag, interval)
        version = theirs[done - 1] if done else 0
        assert done + syncs_left(version, last, interval) == len(theirs), (lag, interval)


def test_nothing_is_left_of_a_resumed_run_without_a_lead() -> None:
    # Step 6 of 10 was the last checkpoint: both sides synced it first.
    assert syncs_left(6, 6, 1) == 0
    assert syncs_left(6, 10, 1) == 4


def test_before_the_first_sync_all_are_left() -> None:
    assert syncs_left(-1, 3, 1) == 3
