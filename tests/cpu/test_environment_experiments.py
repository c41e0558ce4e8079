"""The shipped experiments with environments learn on held-out tasks, by one command on a CPU."""

import asyncio
import importlib.util
import os
from pathlib import Path

import pytest

from rlagent.environments import EnvironmentDiedError
from rlagent.records.rollouts import Query
from rlagent.workflows.openenv import GUESS, act
from rlagent.workflows.teacher import TeacherClient, teacher_model
from tests.cpu.runs import evaluations, trained, training_success

OPENENV = pytest.mark.skipif(
    importlib.util.find_spec("openenv") is None,
    reason="pip install --no-deps openenv-core==0.3.0",
)


def _workers() -> list[str]:
    """Processes of environments that these tests have started."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                line = (folder / "cmdline").read_bytes().decode()
                inherited = (folder / "environ").read_bytes()
            except OSError:
                continue
            if "rlagent.environments." in line and f"RLAGENT_TESTS={os.getpid()}" in str(inherited):
                found.append(line)
    return found


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_held_out_success_rises_on_a_frozen_lake(tmp_path):
    words = ["+experiment=frozen_lake", "hardware=cpu", "algorithm.total_steps=20"]
    folder = trained(tmp_path, *words, timeout=1500)
    first, *_, last = evaluations(folder)
    assert 0.2 <= first["eval/success"] <= 0.6
    assert last["eval/success_low"] > first["eval/success_high"]
    kept = next(iter(folder.rollouts.read(Query(phase="train"))))
    assert kept["environment"][0]["after"] == 0
    assert _workers() == []


@OPENENV
@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_success_in_training_rises_with_a_server_of_openenv(tmp_path):
    line = ["+experiment=openenv", "hardware=cpu", "dataset.eval_tasks=64"]
    folder = trained(tmp_path, *line, "algorithm.total_steps=80")
    shares = training_success(folder)
    assert len(shares) == 80
    # Twenty steps at each end, 2,560 rollouts: it rises slowly.
    assert sum(shares[-20:]) / 20 > sum(shares[:20]) / 20 + 0.03
    assert _workers() == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_lakes_in_processes_of_their_own_leave_none(tmp_path):
    folder = trained(
        tmp_path,
        "+experiment=frozen_lake",
        "hardware=cpu",
        "+debug=fast",
        "workflow.args.where=process",
        "workflow.concurrency=4",
        timeout=1500,
    )
    rows = [row["metrics"] for row in folder.read_metrics("explorer")]
    assert all(row.get("rollout/failed_share", 0.0) == 0.0 for row in rows)
    assert _workers() == []


@OPENENV
@pytest.mark.slow
def test_a_server_of_its_own_is_started_once_and_acted_in():
    from rlagent.environments.served import end_servers, served

    async def twice():
        model = teacher_model()
        model.client = TeacherClient([("act", {"number": n}) for n in (99, 8, 4, 12, 2)])
        output = await act({"seed": 7}, model)
        return output, await served(GUESS), await served(GUESS)

    output, first, second = asyncio.run(twice())
    end_servers()
    assert first == second
    # 99 is no action of the server's, and costs a turn.
    assert output.metrics["invalid"] == 1.0
    assert output.metrics["steps"] == output.metrics["turns"]


@OPENENV
@pytest.mark.slow
def test_a_server_that_does_not_start_is_named():
    from rlagent.environments.served import served

    with pytest.raises(EnvironmentDiedError, match="guess:nothing did not start: exit status 1"):
        asyncio.run(served("rlagent.environments.guess:nothing"))
