"""What goes wrong ends the run soon, with its cause, a status, and nothing left running."""

import pytest

from rlagent.base.texts import MOST
from tests.cpu.runs import ray_processes, run

pytestmark = pytest.mark.alone


def _assert_failed(result, cause):
    assert result.returncode == 1, result.output
    assert result.status["state"] == "failed"
    assert result.status["exit_code"] == 1
    assert cause in result.status["cause"], result.status["cause"]
    assert "\n" not in result.status["cause"]
    assert cause in result.output
    assert not ray_processes()


@pytest.mark.slow
def test_a_workflow_that_always_raises_fails_the_run_with_its_cause(tmp_path):
    result = run(tmp_path, "workflow.function=faulty_agents:always_raises")
    _assert_failed(result, "ValueError: this agent never works")
    assert result.status["steps_trained"] == 0
    # What Trinity has to say is in the log.
    assert "WARNING" not in result.output
    assert "config_validator" in next(result.folder.path.glob("attempts/*/driver.log")).read_text()


@pytest.mark.slow
def test_a_workflow_that_raises_sometimes_is_counted_and_the_run_goes_on(tmp_path):
    result = run(
        tmp_path,
        "workflow.function=faulty_agents:sometimes_raises",
        "algorithm.total_steps=2",
        "algorithm.batch_size=8",
    )
    assert result.returncode == 0, result.output
    assert result.status["state"] == "finished"
    shares = result.series("rollout/failed_share", "explorer")
    assert any(0 < share < 1 for share in shares.values()), shares
    failed = result.series("eval/failed", "explorer")
    assert 0 < failed[0] < 16
    errors = [row["error"] for row in result.folder.rollouts.read() if row["error"]]
    assert errors
    assert set(errors) == {"ValueError: an even question"}


@pytest.mark.slow
def test_a_fixed_batch_does_not_wait_for_rollouts_that_failed(tmp_path):
    result = run(
        tmp_path,
        "workflow.function=faulty_agents:asks_once_and_may_raise",
        "algorithm.total_steps=3",
        "algorithm.batch_size=8",
        "algorithm.train_batch_size=32",
        "run.stall_timeout=120",
    )
    assert result.returncode == 0, result.output
    assert result.status["steps_trained"] == 3
    made = result.series("rollout/experiences", "explorer")
    assert result.series("sample/experiences", "trainer") == made
    assert any(0 < number < 32 for number in made.values()), made
    errors = {row["error"] for row in result.folder.rollouts.read()}
    (error,) = errors - {None}
    assert error.startswith("ValueError: bad \\ud800 text xxx")
    assert len(error) <= MOST
    assert sum(path.stat().st_size for path in result.folder.path.glob("*.json*")) < 2**20
    assert result.folder.report_html.exists()


@pytest.mark.slow
def test_a_conversation_that_outgrows_the_model_is_trained_on_without_a_reward(tmp_path):
    result = run(
        tmp_path, "workflow.function=faulty_agents:talks_for_ever", "algorithm.total_steps=1"
    )
    assert result.returncode == 0, result.output
    for row in result.folder.rollouts.read():
        assert row["error"] is None
        assert (row["reward"], row["metrics"]["overlong"]) == (0.0, 1.0)
    assert all(result.series("rollout/experiences", "explorer").values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "cause"),
    [
        ("returns_text", "returned str, expected a number"),
        ("never_calls_the_model", "made no model call that can be trained on"),
    ],
)
def test_a_workflow_without_a_reward_or_a_call_says_so(tmp_path, function, cause):
    result = run(tmp_path, f"workflow.function=faulty_agents:{function}")
    _assert_failed(result, cause)


@pytest.mark.slow
def test_an_error_in_the_trainer_fails_the_run_with_its_cause(tmp_path):
    result = run(
        tmp_path,
        "algorithm.total_steps=2",
        "trinity.algorithm.policy_loss_fn=faulty_parts.BreaksInTraining",
    )
    _assert_failed(result, "trainer: ArithmeticError: the loss cannot be computed")


@pytest.mark.slow
def test_an_error_in_the_explorer_fails_the_run_with_its_cause(tmp_path):
    result = run(
        tmp_path,
        "algorithm.total_steps=2",
        "trinity.data_processor.experience_pipeline.operators="
        "[{name: faulty_parts.BreaksInExploring}]",
    )
    _assert_failed(result, "explorer: LookupError: the experiences cannot be processed")


@pytest.mark.parametrize(
    ("override", "cause"),
    [
        ("model.path=no-such-owner/no-such-model", "model.path=no-such-owner/no-such-model"),
        pytest.param(
            "dataset.path=no-such-owner/no-such-dataset",
            "path=no-such-owner/no-such-dataset",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_an_unreachable_model_or_dataset_is_named(tmp_path, override, cause):
    _assert_failed(run(tmp_path, "dataset=gsm8k_tiny", override), cause)
