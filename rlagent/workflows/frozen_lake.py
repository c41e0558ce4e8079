"""An agent walks over a frozen lake: one tool call a turn, until it is at the goal or in a hole.

The lake is gymnasium's, in rlagent.environments. The loop is plain, so that nothing is asked of the
model behind the end of an episode.
"""

import functools
from collections.abc import Mapping
from typing import Any

from agentscope.model import ChatModelBase
from agentscope.tuner import WorkflowOutput

from rlagent.environments import Session, opened
from rlagent.environments.frozen_lake import MOVES, FrozenLake, draw
from rlagent.workflows.turns import take_turns

SYSTEM_PROMPT = (
    "You walk over a frozen lake from S to G, a step at a time. "
    "F is ice, H is a hole: who falls into one has lost."
)

MOVE = {
    "type": "function",
    "function": {
        "name": "move",
        "parameters": {
            "type": "object",
            "properties": {"direction": {"type": "string", "enum": list(MOVES)}},
            "required": ["direction"],
        },
        "description": "Move one step.",
    },
}


def lake_of(task: Mapping[str, Any]) -> list[str]:
    """The rows of a task's map: of its `map`, where white space is between them, else of one drawn
    by its `seed`, `size` (4) and `ice` (0.8).

    >>> lake_of({"map": "SF HG"})
    ['SF', 'HG']
    """
    if "map" in task:
        return str(task["map"]).split()
    return draw(task["seed"], task.get("size", 4), task.get("ice", 0.8))


async def walk(
    task: dict,
    model: ChatModelBase,
    turns: int = 12,
    slippery: bool = False,
    where: str = "thread",
    call_timeout: float = 30.0,
) -> WorkflowOutput:
    """Walk over the map of a task.

    Args:
        task: What `lake_of` reads; `seed` is also that by which one slips.
        model: Calls the tool `move` in each turn; an answer without a call, or with a direction
            that is none, costs its turn.
        turns: The model has.
        slippery: Whether two of three moves go astray.
        where: The lake runs: thread or process.
        call_timeout: Seconds that one move may take.

    The reward is 1.0 for the goal and 0.0 otherwise. Metrics: `reached` (as the reward), `fell`
    (into a hole), `turns`, `steps` (moves that the lake took) and `invalid` (turns without one).
    """
    lake = lake_of(task)
    async with opened(
        FrozenLake,
        args={"slippery": slippery, "limit": turns + 1},
        where=where,
        call_timeout=call_timeout,
    ) as world:
        seen = await world.reset(lake=lake, seed=task.get("seed"))
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": SYSTEM_PROMPT},
            {"role": "user", "content": "\n".join([*lake, seen.observation])},
        ]
        move = functools.partial(_move, world)
        taken, _ = await take_turns(world, model, messages, MOVE, turns, move)
        reached = float(world.done and world.reward > 0)
        metrics = {
            "reached": reached,
            "fell": float(world.done and not reached),
            "turns": float(taken),
            "steps": float(world.steps),
            "invalid": float(max(0, taken - world.steps)),
        }
    return WorkflowOutput(reward=reached, metrics=metrics)


async def _move(world: Session, arguments: dict[str, Any]) -> str:
    direction = arguments.get("direction")
    if world.done:
        return "The walk is over."
    if direction not in tuple(MOVES):
        return f"Error: direction is one of {', '.join(MOVES)}."
    return (await world.step(direction)).observation
