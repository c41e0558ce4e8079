"""An agent acts in a world until the episode is over; its reward is the world's."""

from agentscope.model import ChatModelBase
from rlagent.environments import opened


async def play(task: dict, model: ChatModelBase) -> float:
    """Guess `task["number"]`; the sum of what the world gave for each guess."""
    async with opened("world.py:World", args={"most": 4}) as world:
        seen = await world.reset(number=task["number"])
        messages = [{"role": "user", "content": seen.observation}]
        while not world.done:
            reply = await model(messages)
            said = "".join(part["text"] for part in reply.content if "text" in part)
            seen = await world.step(said)
            messages.append({"role": "assistant", "content": said})
            messages.append({"role": "user", "content": seen.observation})
    return world.reward
