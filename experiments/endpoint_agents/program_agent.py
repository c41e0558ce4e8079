"""A command-line agent as a process of its own: `program.py` here, any program elsewhere."""

import asyncio
import os
import sys
from pathlib import Path

PROGRAM = Path(__file__).with_name("program.py")


async def solve(task: dict, base_url: str, api_key: str) -> float:
    """Have the program answer `task["question"]`; it is ended with the rollout."""
    environment = {**os.environ, "OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": api_key}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(PROGRAM),
        task["question"],
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{PROGRAM.name} ended with status {process.returncode}")
    truth = task["answer"].split("####")[-1].replace(",", "").strip()
    return float(printed.decode().strip() == truth)
