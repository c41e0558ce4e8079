"""Agents whose rewards say little: nothing, nothing within a group, or no number at times."""

import math


async def asks_once(task, model):
    """One call of the model."""
    await model([{"role": "user", "content": task["question"]}])


async def constant(task, model):
    """The same reward for every rollout."""
    await asks_once(task, model)
    return 0.5


async def equal_in_a_group(task, model):
    """The same reward for every rollout of a task; tasks differ."""
    await asks_once(task, model)
    return len(task["question"]) % 7 / 7


_calls = 0


async def at_times_no_number(task, model):
    """NaN in every tenth rollout of its process."""
    global _calls
    _calls += 1
    number = _calls
    await asks_once(task, model)
    return math.nan if number % 10 == 0 else number % 2
