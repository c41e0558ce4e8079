"""The shipped experiment learns on held-out tasks, with every seed, not from shuffled rewards.

CI trains a quarter of its steps; `make test-full` all of them.
"""

from pathlib import Path

import pytest

from rlagent.base.stats import difference
from rlagent.records.folder import RunFolder
from tests.cpu.runs import evaluations, trained

pytestmark = pytest.mark.alone


def _train(directory: Path, *overrides: str) -> RunFolder:
    """The experiment, as `make train` runs it."""
    return trained(directory, "+experiment=gsm8k_react", "hardware=cpu", *overrides)


def _assert_learnt(folder: RunFolder, success: float = 0.80) -> None:
    first, *_, last = evaluations(folder)
    assert first["eval/tasks"] >= 256
    assert last["eval/tasks"] == first["eval/tasks"]
    assert 0.25 <= first["eval/success"] <= 0.45
    assert first["eval/valid"] >= 0.95
    assert last["eval/success"] >= success
    assert last["eval/valid"] >= 0.95
    assert last["eval/success_low"] > first["eval/success_high"]


def _assert_on_policy(folder: RunFolder) -> None:
    rows = [row["metrics"] for row in folder.read_metrics("trainer")]
    assert {row["sample/lag"] for row in rows} == {0.0}
    assert max(row["off_policy/kl/behaviour_proximal"] for row in rows) < 1e-4
    assert min(row["off_policy/ess"] for row in rows) > 0.9999
    # Rollout and trainer agree on the probability of every token, constrained ones included.
    assert max(row["training/rollout_probs_diff_max"] for row in rows) < 1e-3
    made = {
        row["step"]: row["metrics"]["rollout/experiences"]
        for row in folder.read_metrics("explorer")
        if "rollout/experiences" in row["metrics"]
    }
    used = {
        row["step"]: row["metrics"]["sample/experiences"] for row in folder.read_metrics("trainer")
    }
    assert used == made


def _assert_left_everything(folder: RunFolder) -> None:
    for path in (folder.report_html, folder.reward_png, folder.config_yaml, folder.trinity_yaml):
        assert path.stat().st_size > 0
    exports = list(folder.checkpoints.glob("global_step_*/actor/huggingface/config.json"))
    assert exports
    assert folder.read_status()["state"] == "finished"
    assert any(folder.wandb_dir.glob("offline-run-*/*.wandb"))


def test_the_shipped_experiment_learns_in_fifteen_steps_and_goes_on_where_it_was(tmp_path):
    _train(tmp_path, "algorithm.total_steps=12")
    folder = _train(tmp_path, "algorithm.total_steps=15")
    assert folder.read_status()["attempt"] == 2
    _assert_learnt(folder, success=0.55)
    _assert_on_policy(folder)
    _assert_left_everything(folder)


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_an_adapter_learns_in_fifteen_steps_what_the_whole_model_does(tmp_path):
    folder = _train(tmp_path, "algorithm.total_steps=15", "model.lora.rank=16", "monitor=local")
    _assert_learnt(folder, success=0.55)
    _assert_on_policy(folder)


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_it_learns_with_every_seed(tmp_path, seed):
    _assert_learnt(_train(tmp_path, f"seed={seed}", "monitor=local"))


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_it_does_not_learn_from_shuffled_rewards(tmp_path):
    folder = _train(tmp_path, "algorithm.shuffle_rewards=true", "monitor=local")
    first, *_, last = evaluations(folder)
    low, _ = difference(
        first["eval/success"],
        int(first["eval/tasks"]),
        last["eval/success"],
        int(last["eval/tasks"]),
    )
    assert low <= 0, "success rose although the rewards had nothing to do with it"
