"""Agents of which those of every second task do what no agent should."""

import asyncio
import os
import sys
import time

from rlagent.workflows.gsm8k_react import react_agent


def _is_faulty(task: dict) -> bool:
    return len(task["question"]) % 2 == 0


async def raises(task, model):
    """An exception with a text that UTF-8 cannot encode."""
    if _is_faulty(task):
        raise ValueError("a lone surrogate: \ud800")
    return await react_agent(task, model)


async def cancels(task, model):
    """What a tool that cancels itself raises."""
    if _is_faulty(task):
        raise asyncio.CancelledError
    return await react_agent(task, model)


async def exits(task, model):
    """sys.exit in an agent."""
    if _is_faulty(task):
        sys.exit(3)
    return await react_agent(task, model)


async def ends_its_process(task, model):
    """The process is gone at once."""
    if _is_faulty(task):
        os._exit(3)
    return await react_agent(task, model)


async def hangs(task, model):
    """It waits for ever, and lets others work."""
    if _is_faulty(task):
        await asyncio.Event().wait()
    return await react_agent(task, model)


async def blocks(task, model):
    """It waits for ever, and nothing else of its process works."""
    if _is_faulty(task):
        time.sleep(100_000)
    return await react_agent(task, model)


async def spins(task, model):
    """It works for ever."""
    while _is_faulty(task):
        pass
    return await react_agent(task, model)


async def forks(task, model):
    """Its child goes on as if it were the process of agents."""
    if _is_faulty(task):
        os.fork()
        return 0.0
    return await react_agent(task, model)
