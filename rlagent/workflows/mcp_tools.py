"""A ReAct agent whose tools come from an MCP server that its rollout starts.

The shipped server has the calculator of the GSM8K experiment, so that its tasks and its tiny model
serve; `workflow.args.command` names any other.
"""

import sys
from pathlib import Path

from agentscope.agent import ReActAgent
from agentscope.formatter import OpenAIChatFormatter
from agentscope.message import Msg
from agentscope.model import ChatModelBase
from agentscope.tuner import WorkflowOutput

from rlagent.rewards.gsm8k import is_correct
from rlagent.tools.mcp_client import Server, tools_of
from rlagent.workflows.gsm8k_react import MAX_ITERATIONS, SYSTEM_PROMPT, ResponseStructure

CALCULATOR = Path(__file__).parents[1] / "tools" / "mcp_calculator.py"
TRANSPORTS = ("stdio", "http")


async def use_tools(
    task: dict,
    model: ChatModelBase,
    command: list[str] | None = None,
    transport: str = "stdio",
    system_prompt: str = SYSTEM_PROMPT,
    start_seconds: float = 30.0,
    call_seconds: float = 30.0,
    max_iters: int = MAX_ITERATIONS,
) -> WorkflowOutput:
    """Answer `task["question"]` with the server's tools, and compare with `task["answer"]`.

    `command` starts the server (null: the shipped calculator's), which speaks over its standard
    streams, or with `transport: http` at an address on loopback that its first line says.

    The reward is 1.0 for the right answer and 0.0 otherwise. Metrics: `accuracy` and `valid`, as
    in gsm8k_react, and `tools_offered`.

    Raises:
        ToolServerError: The server cannot be used, or was lost on the way.
    """
    if transport not in TRANSPORTS:
        raise ValueError(f"workflow.args.transport={transport}: must be one of {TRANSPORTS}")
    http = transport == "http"
    shipped = [sys.executable, str(CALCULATOR), *(["--http"] if http else [])]
    server = Server(command or shipped, http, start_seconds, call_seconds)
    async with tools_of(server) as tools:
        offered = len(tools.toolkit.get_json_schemas())
        agent = ReActAgent(
            name="mcp_agent",
            sys_prompt=system_prompt,
            model=model,
            formatter=OpenAIChatFormatter(),
            toolkit=tools.toolkit,
            max_iters=max_iters,
        )
        agent.set_console_output_enabled(False)
        response = await agent.reply(
            Msg("user", task["question"], role="user"), structured_model=ResponseStructure
        )
        tools.require()
    result = str(response.metadata["result"]) if response.metadata else None
    accuracy = float(is_correct(result, task["answer"]))
    return WorkflowOutput(
        reward=accuracy,
        response=response,
        metrics={
            "accuracy": accuracy,
            "valid": float(result is not None),
            "tools_offered": float(offered),
        },
    )
