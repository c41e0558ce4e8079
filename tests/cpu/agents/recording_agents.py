"""Agents that write down what they were given."""

from pathlib import Path


async def records_its_task(task, model, log):
    """Appends the task to the file `log`, changes it in every depth, and asks the model once."""
    with Path(log).open("a", encoding="utf-8") as lines:
        lines.write(repr(sorted(task.items())) + "\n")
    task["nested"]["list"].append("changed by another rollout")
    task["added"] = True
    await model([{"role": "user", "content": "hello"}])
    return 1.0
