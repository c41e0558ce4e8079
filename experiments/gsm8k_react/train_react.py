"""Train an AgentScope ReAct agent on GSM8K: the whole program, as a user of the API writes it."""

from pathlib import Path
from typing import Dict

from agentscope.agent import ReActAgent
from agentscope.formatter import OpenAIChatFormatter
from agentscope.message import Msg
from agentscope.model import TrinityChatModel
from pydantic import BaseModel, Field

from rlagent import LearnConfig, learn

sys_prompt = "You are a helpful assistant. Solve the math problem and hand in the final number."


class ResponseStructure(BaseModel):
    """Response structure for math tasks."""

    result: str = Field(description="Your final answer to the given math problem.")


def parse_answer(answer: str) -> str:
    """The final answer of a GSM8K row, which stands after `####`."""
    return answer.split("####")[-1].replace(",", "").strip()


def calculate_reward(answer: str, truth: str) -> float:
    """1.0 when the answer is the true one, letter for letter."""
    return 1.0 if answer.strip() == truth.strip() else 0.0


async def react_agent_workflow(task: Dict, model: TrinityChatModel) -> float:
    """Let the agent answer one task and say how good the answer is.

    Args:
        task: One row of the dataset, with `question` and `answer`.
        model: The model in training.
    """
    agent = ReActAgent(
        name="react_agent",
        sys_prompt=sys_prompt,
        model=model,
        enable_meta_tool=True,
        formatter=OpenAIChatFormatter(),
    )
    response = await agent.reply(
        msg=Msg("user", task["question"], role="user"),
        structured_model=ResponseStructure,
    )
    return calculate_reward(response.metadata["result"], parse_answer(task["answer"]))


if __name__ == "__main__":
    learn(
        workflow_func=react_agent_workflow,
        config=LearnConfig.load_config(str(Path(__file__).with_name("train_react.yaml"))),
    )
