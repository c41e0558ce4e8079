"""One rollout of the agent, with a scripted client in place of the trained model's."""

import asyncio
import json
from pathlib import Path

import pytest
from rlagent.workflows.teacher import TeacherClient

from agent import calculate, solve

TASKS = Path(__file__).parent / "tasks.jsonl"


@pytest.mark.parametrize(("said", "reward"), [("50", 1.0), ("22", 0.0)])
def test_the_reward_says_whether_the_answer_is_right(said, reward):
    task = json.loads(TASKS.read_text().splitlines()[0])
    computed = ("calculator", {"expression": "36+14"})
    client = TeacherClient([computed, ("generate_response", {"result": said})])
    assert asyncio.run(solve(task, client)) == reward


def test_the_calculator_takes_two_numbers():
    assert calculate("36 + 14") == "50"
    assert "Error" in calculate("36 + ")
