"""Environments that do what environments must not, for the tests."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rlagent.environments import Step


class Counter:
    """Counts its steps; `log` gets a line for each object and each close."""

    def __init__(self, log: str = "", goal: int = 3) -> None:
        self._log, self._goal, self._count = log, goal, 0
        self._note(f"made {os.getpid()}")

    def reset(self, seed: int = 0) -> Step:
        """Begin at a seed."""
        self._count = seed
        return Step(self._count)

    def step(self, action: Any) -> Step:
        """Count, or do what the action says."""
        if callable(wrong := getattr(self, f"_{action}", None)):
            return wrong()
        self._count += 1
        print("an environment may print")
        return Step(f"at {self._count}", 0.5, self._count >= self._goal)

    def close(self) -> None:
        """Say so."""
        self._note("closed")

    def _note(self, line: str) -> None:
        if self._log:
            with open(self._log, "a", encoding="utf-8") as file:
                file.write(f"{line}\n")

    def _hangs(self) -> Any:
        while True:
            time.sleep(3600)

    def _dies(self) -> Any:
        os._exit(3)

    def _raises(self) -> Any:
        raise RuntimeError("no such door")

    def _forks(self) -> Any:
        child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(3600)"])
        self._note(f"child {child.pid}")
        return Step("forked")

    def _none(self) -> Any:
        return None

    def _bytes(self) -> Any:
        return Step(b"\x00\xff")

    def _megabyte(self) -> Any:
        return Step("x" * 1_000_000)

    def _nan(self) -> Any:
        return Step("here", float("nan"))


class Waiting(Counter):
    """The same with coroutine functions."""

    async def reset(self, seed: int = 0) -> Step:
        """Begin at a seed."""
        await asyncio.sleep(0)
        return super().reset(seed)

    async def step(self, action: Any) -> Step:
        """Count."""
        if action == "hangs":
            await asyncio.Event().wait()
        return super().step(action)

    async def close(self) -> None:
        """Say so."""
        super().close()


class SlowToClose(Counter):
    """Takes a moment to close."""

    def close(self) -> None:
        """Let others run meanwhile."""
        time.sleep(0.01)


def broken() -> Counter:
    """Cannot be made."""
    raise OSError("the world is not there")


def lines(log: Path) -> list[str]:
    """What environments have noted."""
    return log.read_text(encoding="utf-8").split("\n")[:-1] if log.exists() else []
