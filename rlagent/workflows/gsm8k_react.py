"""The shipped workflow: a ReAct agent with a calculator answers one GSM8K task.

It is written for any model that calls tools. Sampling, recording and training belong to the
caller; what counts as right belongs to rlagent.rewards.gsm8k.
"""

from agentscope.agent import ReActAgent
from agentscope.formatter import OpenAIChatFormatter
from agentscope.message import Msg
from agentscope.model import ChatModelBase
from agentscope.tool import Toolkit
from agentscope.tuner import WorkflowOutput
from pydantic import BaseModel, Field

from rlagent.rewards.gsm8k import is_correct
from rlagent.tools.calculator import calculator

SYSTEM_PROMPT = (
    "You solve math word problems. Compute with the calculator, "
    "then call generate_response with the final number."
)

# A calculation for each of a few steps, the structured answer, the closing text.
MAX_ITERATIONS = 6


class ResponseStructure(BaseModel):
    """What the agent must hand in."""

    result: str = Field(description="Your final answer to the given math problem.")


async def react_agent(
    task: dict, model: ChatModelBase, max_iters: int = MAX_ITERATIONS
) -> WorkflowOutput:
    """Answer `task["question"]` and compare with `task["answer"]`.

    `max_iters` limits the model's turns, after which it is asked once more for a summary
    (`workflow.args.max_iters`).

    The reward is 1.0 for the right number and 0.0 otherwise. Metrics: `accuracy` (as the reward)
    and `valid` (1.0 when the rollout ended in a valid structured answer, right or wrong).
    """
    toolkit = Toolkit()
    toolkit.register_tool_function(calculator)
    agent = ReActAgent(
        name="react_agent",
        sys_prompt=SYSTEM_PROMPT,
        model=model,
        formatter=OpenAIChatFormatter(),
        toolkit=toolkit,
        max_iters=max_iters,
    )
    agent.set_console_output_enabled(False)
    response = await agent.reply(
        Msg("user", task["question"], role="user"), structured_model=ResponseStructure
    )
    # Without a valid generate_response within `max_iters` there is no metadata.
    result = str(response.metadata["result"]) if response.metadata else None
    accuracy = float(is_correct(result, task["answer"]))
    return WorkflowOutput(
        reward=accuracy,
        response=response,
        metrics={"accuracy": accuracy, "valid": float(result is not None)},
    )
