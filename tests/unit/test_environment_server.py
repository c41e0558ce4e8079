"""A server of OpenEnv that a run starts itself, where it does not start."""

import asyncio
import subprocess

import pytest

from rlagent.environments import EnvironmentDiedError
from rlagent.environments.served import served


def test_one_that_does_not_start_in_its_time_is_ended(monkeypatch):
    started = []
    popen = subprocess.Popen

    def noted(*args, **options):
        started.append(popen(*args, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", noted)
    with pytest.raises(EnvironmentDiedError, match=r"guess:app did not start within 0 s"):
        asyncio.run(served("rlagent.environments.guess:app", seconds=0))
    (process,) = started
    assert process.returncode == -9
