"""What the explorer makes of what a runner process says of itself, or does not say."""

import asyncio
import time
from types import SimpleNamespace

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError

from rlagent.trinity import processes
from rlagent.trinity.fates import Fate, Report


@pytest.fixture
def killed(monkeypatch):
    found = []
    monkeypatch.setattr(processes.ray, "kill", found.append)
    return found


def _watched(answer):
    """A runner after its process was asked, until it is watched no more.

    Args:
        answer: A coroutine function of what the process answers.
    """

    async def run():
        async def ready():
            return None

        handle = SimpleNamespace(
            prepare=SimpleNamespace(remote=ready),
            watch=SimpleNamespace(remote=lambda seconds: answer()),
        )
        runner = processes.Runner(handle, "runner-0")
        await runner.prepare(patience=0.0)
        await asyncio.wait_for(runner._watching, 60)
        return runner

    return asyncio.run(run())


def test_seconds_in_which_the_explorer_is_blocked_are_not_held_against_a_process(
    monkeypatch, killed
):
    monkeypatch.setattr(processes, "REPORT_SECONDS", 0.1)
    monkeypatch.setattr(processes, "WAIT", 0.01)
    fate = Fate("1/0/0", "blocked", certain=True)

    async def answer():
        time.sleep(0.3)
        # As Ray's answers do, it arrives some turns of the loop later.
        for _ in range(3):
            await asyncio.sleep(0)
        return Report(fate=fate)

    assert _watched(answer).fate == fate


def test_a_process_that_stays_silent_is_ended(monkeypatch, killed):
    monkeypatch.setattr(processes, "REPORT_SECONDS", 0.02)
    monkeypatch.setattr(processes, "WAIT", 0.01)

    async def answer():
        await asyncio.Event().wait()

    runner = _watched(answer)
    assert (runner.fate, killed) == (None, [runner.handle])


@pytest.mark.parametrize(
    ("error", "worn"),
    [
        (ActorDiedError(), ""),
        (
            RayTaskError("watch", "Traceback", RuntimeError("cannot look")),
            "it cannot be watched: RuntimeError: cannot look",
        ),
        (ActorUnavailableError("no route", None), "it cannot be watched: ActorUnavailableError"),
    ],
)
def test_a_process_that_cannot_be_watched_gets_no_more_rollouts(killed, error, worn):
    async def answer():
        raise error

    runner = _watched(answer)
    assert runner.worn.startswith(worn)
    assert bool(runner.worn) == bool(worn)
    assert not killed
