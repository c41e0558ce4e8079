"""An agent acts in any environment of OpenEnv: one call of the tool `act` a turn, until it is done.

The tool's parameters are those of the server's own actions.
"""

from collections.abc import Mapping
from typing import Any

from agentscope.model import ChatModelBase
from agentscope.tuner import WorkflowOutput

from rlagent.environments import opened
from rlagent.environments.openenv import OpenEnv, action_schema, shown_to_model
from rlagent.environments.served import served
from rlagent.workflows.turns import take_turns

SYSTEM_PROMPT = "Call act, a step at a time, until the task is done."

GUESS = "rlagent.environments.guess:app"


async def act(
    task: dict,
    model: ChatModelBase,
    url: str | None = None,
    serve: str = GUESS,
    turns: int = 8,
    call_timeout: float = 30.0,
    reset: Mapping[str, Any] | None = None,
) -> WorkflowOutput:
    """Act in an environment.

    Args:
        task: `instruction`, if it has one, stands above the first observation; what else it has is
            given to the server's `reset`, which takes what it knows, such as `seed`.
        model: Calls the tool `act`.
        url: Of a server of OpenEnv: http://HOST:PORT. None: `serve` is started.
        serve: `module:function` of a server's application, on loopback.
        turns: The model has.
        call_timeout: Seconds that the server may take for an answer.
        reset: Further options of the server's `reset`.

    The reward is the sum of the environment's. Metrics: `turns`, `steps` (that the environment was
    asked for), `invalid` (turns without one, and actions that it refused) and `done` (1.0 where the
    environment ended the episode).
    """
    url = url or await served(serve)
    tool = {
        "type": "function",
        "function": {
            "name": "act",
            "parameters": await action_schema(url, call_timeout),
            "description": "Act once.",
        },
    }
    options = {name: value for name, value in task.items() if name != "instruction"}
    options |= dict(reset or {})
    # Of a server's messages alone: one asks another process.
    async with opened(OpenEnv, args={"url": url}, where="loop", call_timeout=call_timeout) as world:
        seen = await world.reset(**options)
        first = [task.get("instruction"), shown_to_model(seen.observation)]
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": SYSTEM_PROMPT},
            {"role": "user", "content": "\n".join(filter(None, first))},
        ]
        refused = 0

        async def do(action: dict[str, Any]) -> str:
            nonlocal refused
            if world.done:
                return "It is done already."
            step = await world.step(action)
            refused += bool(step.info.get("refused"))
            return shown_to_model(step.observation)

        taken, silent = await take_turns(world, model, messages, tool, turns, do)
        metrics = {
            "turns": float(taken),
            "steps": float(world.steps),
            "invalid": float(silent + refused),
            "done": float(world.done),
        }
        return WorkflowOutput(reward=world.reward, metrics=metrics)
