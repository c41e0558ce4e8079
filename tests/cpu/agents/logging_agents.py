"""A workflow that keeps its own log of what each of its rollouts reported, for recomputing."""

import asyncio
import json
import os

from agentscope.agent import AgentBase
from agentscope.message import Msg
from agentscope.tuner import WorkflowOutput


class Talker(AgentBase):
    """Asks the model, with everything said so far."""

    def __init__(self, name, model):
        super().__init__()
        self.name, self.model, self.said = name, model, []

    async def reply(self, text):
        """One turn."""
        self.said.append({"role": "user", "content": text})
        response = await self.model(self.said)
        answer = "".join(block.get("text", "") for block in response.content)
        self.said.append({"role": "assistant", "content": answer})
        return Msg(self.name, answer, "assistant")


def note(path, line):
    """Append a line in one write."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, (json.dumps(line) + "\n").encode())
    os.close(descriptor)


async def logs_itself(task, model, log):
    """Two agents in turns, then four calls at once; rewards by row, one row's rollouts fail."""
    number = task["number"]
    first, second = Talker("first", model), Talker("second", model)
    for turn in range(2):
        answer = await first.reply(f"{task['question']} {turn}")
        await second.reply(answer.get_text_content() or "nothing")
    asked = [{"role": "user", "content": task["question"]}]
    await asyncio.gather(*(model(asked) for _ in range(4)))
    metrics = {"number": number, "success": number / 7, "length": float(len(first.said))}
    if number % 3 == 0:
        metrics["depth"] = number / 3
    line = {"set": task["set"], "number": number, "reward": None, "metrics": metrics}
    if number % 5 == 4:
        note(log, line)
        raise ValueError(f"row {number} is made to fail")
    line["reward"] = (number * 37 % 11) / 8
    note(log, line)
    return WorkflowOutput(reward=line["reward"], metrics=metrics)
