"""Rollouts that end or hold up their process: they fail, with the cause, and no other does.

The processes are real ones of Ray, and so is what guards them; the runner in them is a stand-in
without a model.
"""

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import ray
import stand_in_runner

from rlagent.records import warnings
from rlagent.trinity.processes import RolloutLost, SharedProcesses
from rlagent.trinity.watchdog import GRACE
from tests.cpu.runs import environment

pytestmark = pytest.mark.alone

OTHERS = 3
TIMEOUT = 3.0


@pytest.fixture(scope="module", autouse=True)
def _ray(tmp_path_factory):
    logs = tmp_path_factory.mktemp("logs")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment().items():
            patch.setenv(name, value)
        path = os.pathsep.join([os.path.dirname(__file__), os.environ["PYTHONPATH"]])
        patch.setenv("PYTHONPATH", path)
        patch.setenv("TRINITY_LOG_DIR", str(logs))
        patch.setenv("RAY_raylet_start_wait_time_s", "120")
        ray.init(num_cpus=4, namespace="runners", include_dashboard=False, logging_level="ERROR")
        yield
        ray.shutdown()


@pytest.fixture
def processes():
    config = SimpleNamespace(
        ray_namespace="runners",
        explorer=SimpleNamespace(
            max_timeout=60, env_vars={}, rollout_model=SimpleNamespace(engine_num=1)
        ),
    )
    made = SharedProcesses(config, 1)
    made.actor = stand_in_runner.StandInActor
    yield made
    for index in list(made._runners):
        made._forget(index)


async def _ended(running, pids=None):
    try:
        pid, result = await running
        if pids is not None:
            pids.append(pid)
        return result
    except RolloutLost as lost:
        return f"lost: {lost}"


async def _prepared(handle):
    try:
        await handle.prepare.remote()
    except ray.exceptions.RayError as error:
        return error


async def _group(processes, folder, harm, agent="turns", pids=None):
    """How the rollouts of a group end, the one that does harm first; `pids` gets where they did."""
    common = {"timeout": TIMEOUT, "folder": str(folder), "members": OTHERS + 1, "agent": agent}
    return await asyncio.gather(
        *(
            _ended(processes.run("g", f"1/0/{n}", {**common, "harm": None if n else harm}), pids)
            for n in range(OTHERS + 1)
        )
    )


@pytest.mark.parametrize(
    ("harm", "cause"),
    [
        ("os_exit", "AgentAbortError: the agent called os._exit(3)"),
        ("sleeps", "lost: it blocked the event loop of its process for"),
        pytest.param(
            "spins", "lost: it blocked the event loop of its process for", marks=pytest.mark.slow
        ),
        pytest.param(
            "holds",
            "lost: it kept the interpreter, and all other rollouts of its process",
            marks=pytest.mark.slow,
        ),
        ("crashes", "lost: it crashed the process that ran it (Segmentation fault), at File"),
        pytest.param(
            "killed",
            "lost: the process that ran it died (killed, crashed or out of memory)",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_rollout_that_ends_its_process_fails_alone(processes, tmp_path, harm, cause):
    first, *others = asyncio.run(_group(processes, tmp_path, harm))
    assert cause in first
    assert others == [1.0] * OTHERS
    if "lost" in cause and harm != "killed":
        assert "meddling_agents.py" in first


def test_a_killed_process_costs_no_rollout(processes, tmp_path):
    found = asyncio.run(_group(processes, tmp_path, "killed_from_outside"))
    assert found == [1.0] * (OTHERS + 1)


def test_a_process_with_a_thread_that_never_ends_is_replaced(processes, tmp_path):
    async def run():
        first, *others = await _group(processes, tmp_path, "waits", "turns_in_a_thread")
        runner = processes._runners[0]
        while not runner.worn:
            await asyncio.sleep(0.05)
        await processes.prepare(0)
        while not isinstance(await _prepared(runner.handle), ray.exceptions.RayActorError):
            await asyncio.sleep(0.05)
        return first, others, processes._runners[0] is not runner

    first, others, replaced = asyncio.run(run())
    assert first == f"TimeoutError: a rollout took longer than workflow.timeout={TIMEOUT} s"
    assert others == [1.0] * OTHERS
    assert replaced
    said = warnings.file_of(Path(os.environ["TRINITY_LOG_DIR"])).read_text()
    assert "a process for agent code is replaced: code of 1 ended rollouts goes on" in said


@pytest.mark.slow
def test_the_rollouts_of_one_that_was_blocked_run_again_beside_each_other(processes, tmp_path):
    pids: list[int] = []
    asyncio.run(_group(processes, tmp_path, "sleeps", pids=pids))
    assert len(set(pids)) == OTHERS
    # What they ran in is gone with them.
    assert set(processes._runners) <= {0}


@pytest.mark.slow
def test_a_process_outlives_an_explorer_that_is_blocked(processes, tmp_path):
    async def run():
        arguments = {"agent": "turns", "timeout": TIMEOUT, "folder": str(tmp_path)}
        arguments |= {"members": 1, "harm": None}
        running = asyncio.ensure_future(processes.run("g", "1/0/0", arguments))
        while not any(tmp_path.iterdir()):
            await asyncio.sleep(0.01)
        # Longer than a process is given that holds its interpreter.
        time.sleep(TIMEOUT + 2 * GRACE + 2)
        before, _ = await running
        after, _ = await processes.run("g", "2/0/0", arguments)
        return before, after

    before, after = asyncio.run(run())
    assert after == before


@pytest.mark.slow
def test_a_frozen_process_is_replaced(processes, tmp_path):
    processes.patience = 1.0

    async def run():
        arguments = {"agent": "turns", "timeout": 100, "folder": str(tmp_path)}
        pid, _ = await processes.run("g", "1/0/0", {**arguments, "members": 1, "harm": None})
        os.kill(pid, signal.SIGSTOP)
        again, result = await processes.run("g", "2/0/0", {**arguments, "members": 1, "harm": None})
        return pid, again, result

    pid, again, result = asyncio.run(run())
    assert (again != pid, result) == (True, 1.0)
    # Ray ends it in its own time; a process that is stopped ends by SIGKILL alone.
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(60)
