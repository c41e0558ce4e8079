"""Agents that fail in one way each; workflows for the tests of honest endings."""

from rlagent.workflows.gsm8k_react import react_agent


async def always_raises(task, model):
    """Raises before it calls the model."""
    raise ValueError("this agent never works")


async def sometimes_raises(task, model):
    """Raises on tasks whose question has an even length; answers the others."""
    if len(task["question"]) % 2 == 0:
        raise ValueError("an even question")
    return await react_agent(task, model)


async def asks_once_and_may_raise(task, model):
    """One call a rollout; half of the tasks raise what UTF-8 cannot hold, a megabyte of it."""
    await model([{"role": "user", "content": task["question"] + " \ud800"}])
    if len(task["question"]) % 2 == 0:
        raise ValueError("bad \ud800 text " + "x" * 2**20)
    return 1.0


async def returns_text(task, model):
    """Returns no reward."""
    await model([{"role": "user", "content": "hello"}])
    return "not a number"


async def talks_for_ever(task, model):
    """Adds to its conversation until the model refuses it."""
    messages = [{"role": "user", "content": task["question"]}]
    while True:
        await model(messages)
        messages.append({"role": "user", "content": task["question"] * 3})


async def never_calls_the_model(task, model):
    """Earns a reward that nothing can be learnt from."""
    return 1.0


async def fails_for_some(task, model, number):
    """Answers, except in the trials numbered 4 and 9, which a sweep tells by an argument."""
    if number in (4, 9):
        raise ValueError(f"trial {number} is made to fail")
    return await react_agent(task, model)
