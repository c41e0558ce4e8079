"""Agents that do to their process what would end or hold up all rollouts in it."""

import asyncio
import ctypes
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path


async def _answer(task, model):
    await model([{"role": "user", "content": task["question"]}])
    return 1.0


async def does_harm(task, model, harm, folder):
    """Answers twice; of all rollouts of a run the first one does harm in between, once."""
    await _answer(task, model)
    if _first(folder):
        # The others are under way by then.
        await _answer(task, model)
        HARM[harm]()
    return await _answer(task, model)


def does_harm_in_a_thread(task, model, harm, folder):
    """The same of a plain function."""
    return asyncio.run(does_harm(task, model, harm, folder))


def _first(folder):
    try:
        (Path(folder) / "harmed").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


async def turns(harm, folder, members):
    """Waits until all of its group are here, unless one has done harm before; then does its own."""
    mark = Path(folder) / "harmed"
    (Path(folder) / os.urandom(8).hex()).touch()
    while not mark.exists() and len(list(Path(folder).iterdir())) < members:
        await asyncio.sleep(0.01)
    if harm == "killed_from_outside" and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    elif harm in HARM:
        mark.touch()
        HARM[harm]()
    elif not mark.exists():
        # Long enough to be under way when harm is done.
        await asyncio.sleep(0.5)
    return 1.0


async def turns_in_a_thread(harm, folder, members):
    """The same of a plain function."""
    from rlagent.trinity.threads import in_thread

    return await in_thread(lambda: asyncio.run(turns(harm, folder, members)))


def _cancelled():
    raise asyncio.CancelledError("by a tool")


def _interrupted():
    raise KeyboardInterrupt


def _spins():
    while True:
        pass


HARM = {
    "cancelled": _cancelled,
    "exit": lambda: sys.exit(3),
    "interrupted": _interrupted,
    "os_exit": lambda: os._exit(3),
    "fork": os.fork,
    "sleeps": lambda: time.sleep(1000),
    "spins": _spins,
    "holds": lambda: re.match(r"(a+)+$", "a" * 60 + "b"),
    "crashes": lambda: ctypes.string_at(0),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "waits": lambda: threading.Event().wait(),
}
