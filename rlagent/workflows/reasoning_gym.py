"""Answers a task of reasoning-gym in one turn, scored by the package's own verifier."""

from typing import Any

from agentscope.model import ChatModelBase
from agentscope.tuner import WorkflowOutput

from rlagent.workflows.reasoning_gym_tasks import score

SYSTEM_PROMPT = (
    "Solve the task. Give the final answer, and nothing else, between <answer> and </answer>."
)


def messages(task: dict[str, Any]) -> list[dict[str, str]]:
    """What the model is asked."""
    return [
        {"role": "system", "content": SYSTEM_PROMPT},
        {"role": "user", "content": task["question"]},
    ]


def answer_in(text: str) -> str | None:
    """What stands between the last tags; None without them.

    >>> answer_in("Is it <answer>3</answer>? No: <answer> 4 </answer>"), answer_in("4")
    ('4', None)
    """
    _, opened, rest = text.rpartition("<answer>")
    inside, closed, _ = rest.partition("</answer>")
    return inside.strip() if opened and closed else None


async def solve(task: dict[str, Any], model: ChatModelBase) -> WorkflowOutput:
    """Answer `task["question"]`.

    The reward is the verifier's, in [0, 1]; some give part of it for what is nearly right.
    Metrics: `answered` (1.0 where there is an answer between the tags) and `solved/TASK`.
    """
    response = await model(messages(task))
    text = "".join(block["text"] for block in response.content if block["type"] == "text")
    answer = answer_in(text)
    reward = 0.0 if answer is None else score(task, answer)
    metrics = {"answered": float(answer is not None), f"solved/{task['task']}": float(reward >= 1)}
    return WorkflowOutput(reward=reward, response=text, metrics=metrics)
