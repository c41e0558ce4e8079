"""Explorer and trainer take part in the same weight syncs, however far exploring runs ahead."""

import itertools
from types import SimpleNamespace

import pytest

from rlagent.trinity.lag import closes_with_a_sync, syncs_left
from rlagent.trinity.translate import WHOLE_STEPS


def _explorer_syncs(start: int, last: int, lag: int, interval: int) -> int:
    """How often Trinity's explorer syncs after the steps from `start` to `last`."""
    steps = range(start + 1, last + 1)
    return sum(1 for step in steps if step > lag and (step - lag) % interval == 0)


def _trainer_syncs(start: int, last: int, interval: int, closing: bool) -> list[int]:
    """The steps after which the trainer syncs: Trinity's, and the last one where it closes so."""
    steps = range(start + 1, last + 1)
    return [step for step in steps if step % interval == 0 or (closing and step == last)]


@pytest.mark.parametrize("last", [1, 2, 3, 7, 10])
@pytest.mark.parametrize("closing", [True, False])
def test_no_sync_of_the_trainer_waits_for_an_explorer_that_has_ended(
    last: int, closing: bool
) -> None:
    for lag, interval in itertools.product((0, 1, 2, 3), (1, 2, 3)):
        theirs = _trainer_syncs(0, last, interval, closing)
        done = _explorer_syncs(0, last, lag, interval)
        version = theirs[done - 1] if done else 0
        left = syncs_left(version, last, interval, closing)
        assert done + left == len(theirs), (lag, interval)


def test_a_run_that_resumes_between_two_syncs_counts_those_ahead() -> None:
    theirs = _trainer_syncs(3, 7, 2, closing=True)
    assert syncs_left(3, 7, 2, closing=True) == len(theirs) == 3


def test_nothing_is_left_of_a_resumed_run_without_a_lead() -> None:
    # Step 6 of 10 was the last checkpoint: both sides synced it first.
    assert syncs_left(6, 6, 1, closing=True) == 0
    assert syncs_left(6, 10, 1, closing=True) == 4


def test_before_the_first_sync_all_are_left() -> None:
    assert syncs_left(-1, 3, 1, closing=True) == 3


@pytest.mark.parametrize(
    ("method", "style", "strategy", "closes"),
    [
        ("checkpoint", "explorer_driven", "default", True),
        ("memory", "fixed", "default", True),
        ("nccl", "fixed", WHOLE_STEPS, True),
        ("nccl", "trainer_driven", WHOLE_STEPS, True),
        ("nccl", "explorer_driven", WHOLE_STEPS, False),
        ("nccl", "fixed", "default", False),
    ],
)
def test_the_last_weights_are_synced_wherever_the_explorer_need_not_or_does_take_part(
    method: str, style: str, strategy: str, closes: bool
) -> None:
    config = SimpleNamespace(
        synchronizer=SimpleNamespace(
            sync_method=SimpleNamespace(value=method), sync_style=SimpleNamespace(value=style)
        ),
        algorithm=SimpleNamespace(sample_strategy=strategy),
    )
    assert closes_with_a_sync(config) is closes
