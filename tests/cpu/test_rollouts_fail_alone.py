"""One rollout of a real run does harm to its process: it fails, and the run trains on the others.

The processes without a model are tested in test_runner_processes.py.
"""

import pytest

from tests.cpu.runs import ray_processes, run

# Each starts Ray, and other work beside it would make the innocent rollouts late, too.
pytestmark = [pytest.mark.slow, pytest.mark.alone]

ROLLOUTS = 16
BLOCKED = "blocked the event loop of its process"


@pytest.mark.parametrize(
    ("harm", "function", "cause"),
    [
        ("cancelled", "does_harm", "raised CancelledError"),
        ("exit", "does_harm", "called sys.exit(3)"),
        ("interrupted", "does_harm", "raised KeyboardInterrupt"),
        ("os_exit", "does_harm", "called os._exit(3)"),
        ("fork", "does_harm", None),
        ("sleeps", "does_harm", BLOCKED),
        ("spins", "does_harm", BLOCKED),
        ("waits", "does_harm_in_a_thread", "longer than workflow.timeout=10.0 s"),
        ("exit", "does_harm_in_a_thread", "called sys.exit(3)"),
    ],
)
def test_a_rollout_that_does_harm_fails_alone(tmp_path, harm, function, cause):
    (tmp_path / "harm").mkdir()
    # Long where nothing waits for it: the first rollouts import what agents use.
    timeout = 10 if harm in ("sleeps", "spins", "waits") else 60
    result = run(
        tmp_path,
        f"workflow.function=meddling_agents:{function}",
        f"workflow.args={{harm: {harm}, folder: {tmp_path}/harm}}",
        f"workflow.timeout={timeout}",
        "algorithm.total_steps=2",
        "dataset.eval_split=null",
    )
    assert result.returncode == 0, result.output
    failed = result.series("rollout/failed_share", "explorer")
    assert failed == {1: 0 if cause is None else 1 / ROLLOUTS, 2: 0}
    # The others earned their reward, and each of their calls is trained on.
    assert result.series("rollout/reward/mean", "explorer") == {1: 1.0, 2: 1.0}
    assert result.status["steps_trained"] == 2
    errors = [row["error"] for row in result.folder.rollouts.read() if row["error"]]
    assert [cause in error for error in errors] == [True] * (cause is not None)
    assert not ray_processes()
