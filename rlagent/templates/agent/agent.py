"""An agent answers one task; the reward says whether its answer was right.

It is yours to change: the prompt, the tools, how often it calls the model, what the
reward counts. What the function returns is what the model is trained towards.
"""

from agentscope.agent import ReActAgent
from agentscope.formatter import OpenAIChatFormatter
from agentscope.message import Msg
from agentscope.model import ChatModelBase
from agentscope.tool import Toolkit
from pydantic import BaseModel, Field
from rlagent.tools.calculator import calculator

SYSTEM_PROMPT = (
    "You solve math word problems. Compute with the calculator, "
    "then call generate_response with the final number."
)


class ResponseStructure(BaseModel):
    """What the agent must hand in."""

    result: str = Field(description="Your final answer to the given math problem.")


async def solve(task: dict, model: ChatModelBase) -> float:
    """Answer `task["question"]`: 1.0 where that is `task["answer"]`, else 0.0."""
    toolkit = Toolkit()
    # A tool is a function with type hints and a docstring, which the model reads.
    toolkit.register_tool_function(calculator)
    agent = ReActAgent(
        name="solver",
        sys_prompt=SYSTEM_PROMPT,
        model=model,
        formatter=OpenAIChatFormatter(),
        toolkit=toolkit,
        max_iters=6,
    )
    agent.set_console_output_enabled(False)
    question = Msg("user", task["question"], "user")
    reply = await agent(question, structured_model=ResponseStructure)
    # Without an answer within `max_iters` there is no metadata.
    result = reply.metadata["result"] if reply.metadata else ""
    return float(str(result).strip() == task["answer"])
