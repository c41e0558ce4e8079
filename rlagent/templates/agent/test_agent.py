"""One rollout of the agent, with a scripted model in place of the trained one."""

import asyncio
import json
from pathlib import Path

import pytest
from rlagent.workflows.teacher import TeacherClient, teacher_model

from agent import solve

TASKS = Path(__file__).parent / "tasks.jsonl"


def rollout(task: dict, calls: list[tuple[str, dict]]) -> float:
    """Return the reward of an agent whose model makes these calls, one each turn."""
    model = teacher_model()
    model.client = TeacherClient(calls)
    return asyncio.run(solve(task, model))


@pytest.mark.parametrize(("said", "reward"), [("50", 1.0), ("22", 0.0)])
def test_the_reward_says_whether_the_answer_is_right(said, reward):
    task = json.loads(TASKS.read_text().splitlines()[0])
    computed = ("calculator", {"expression": "36+14"})
    assert rollout(task, [computed, ("generate_response", {"result": said})]) == reward


def test_every_task_has_a_question_and_an_answer():
    tasks = [json.loads(line) for line in TASKS.read_text().splitlines()]
    assert all(task["question"] and task["answer"] for task in tasks)
