"""Tasks that the model solves at times are asked more often than others."""

import json
from types import SimpleNamespace

import numpy as np
import torch
from trinity.buffer.operators.mappers.pass_rate_calculator import PassRateCalculator
from trinity.buffer.selector import SELECTORS
from trinity.common.config import DataSelectorConfig
from trinity.common.constants import SELECTOR_METRIC
from trinity.common.experience import EID, Experience

from rlagent.trinity.translate import DIFFICULTY, curriculum

TASKS, BATCH, REPEAT = 60, 6, 8


def selector():
    """Trinity's selector of a dataset of which nothing is known but its length."""
    config = DataSelectorConfig(DIFFICULTY, seed=1, kwargs=curriculum(REPEAT))
    return SELECTORS.get(DIFFICULTY)(SimpleNamespace(dataset=range(TASKS)), config)


def share(number: int) -> float:
    """How often a task is solved: a third of them always, a third at times, a third never."""
    return (1.0, 0.5, 0.0)[number % 3]


def explore(chosen, steps: int) -> list[int]:
    """Ask the tasks of some steps, and feed back what they earned by Trinity's own operator."""
    asked = []
    for _ in range(steps):
        numbers = [int(number) for number in chosen.get_indices(BATCH)]
        made = [
            Experience(
                eid=EID(batch=1, task=number, run=run),
                tokens=torch.arange(3),
                prompt_length=1,
                reward=float(run < REPEAT * share(number)),
                info={"task_index": {"taskset_id": 0, "index": number}},
            )
            for number in numbers
            for run in range(REPEAT)
        ]
        chosen.feedback(**PassRateCalculator().process(made)[1][SELECTOR_METRIC][0])
        asked += numbers
    return asked


def test_tasks_that_are_solved_at_times_come_more_often():
    chosen = selector()
    explore(chosen, 25)
    later = explore(chosen, 25)
    at_times = sum(share(number) == 0.5 for number in later) / len(later)
    # A third of the tasks.
    assert at_times > 0.5, at_times


def test_a_resumed_run_keeps_what_was_measured():
    before, after = selector(), selector()
    # Of a run that has measured nothing there is nothing to keep.
    assert set(before.state_dict()) == {"current_index"}
    explore(before, 10)
    after.load_state_dict(json.loads(json.dumps(before.state_dict())))
    assert after.current_index == before.current_index
    np.testing.assert_allclose(after.get_scores(), before.get_scores(), atol=2e-3)


def test_rewards_beyond_what_a_share_can_be_count_as_all_or_nothing():
    chosen, whole = selector(), selector()
    chosen.feedback([0, 1], [7.0, -3.0])
    whole.feedback([0, 1], [1.0, 0.0])
    np.testing.assert_allclose(chosen.get_scores(), whole.get_scores())
