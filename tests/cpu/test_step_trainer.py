"""The verl trainer's own step, from experiences to metrics, on a CPU."""

import os
import socket

import pytest
import torch
import torch.multiprocessing as mp
from verl_trainer import train_steps

pytestmark = pytest.mark.slow


def _train(tmp_path, *overrides, counts):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        os.environ["TEST_PORT"] = str(probe.getsockname()[1])
    out = tmp_path / "rows.pt"
    mp.spawn(train_steps, (overrides, counts, str(out)), nprocs=1)
    return torch.load(out, weights_only=False)


def test_steps_of_any_size_are_trained_on_and_none_at_all_changes_nothing(tmp_path):
    # One of a step's gradients is not finite: it is skipped, and counted.
    rows = _train(tmp_path, counts=[37, 0, 5, -5, 5])
    assert [row["moved"] for row in rows] == [True, False, True, False, True]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5]
    skipped = [row["metrics"].get("actor/skipped_updates") for row in rows]
    assert skipped == [0.0, None, 0.0, 1.0, 0.0]
    assert "actor/grad_norm" not in rows[3]["metrics"]
    metrics = rows[0]["metrics"]
    assert "actor/ppo_kl" not in metrics
    assert 0 < metrics["off_policy/ess"] < 1
    assert metrics["actor/entropy"] > 0
    assert metrics["training/rollout_probs_diff_max"] > 0
    assert metrics["tokens/trained"] > 0
    assert {"actor/pg_loss", "actor/grad_norm", "off_policy/kl/behaviour_proximal"} <= set(metrics)


@pytest.mark.parametrize("attention", ["sdpa", "packed"])
def test_old_log_probabilities_of_the_rollout_engine_can_be_taken_instead(tmp_path, attention):
    overrides = ("algorithm.recompute_old_logprobs=false", f"hardware.attention={attention}")
    (row,) = _train(tmp_path, *overrides, counts=[9])
    assert row["moved"]
    assert row["metrics"]["actor/ppo_kl"] != 0
    assert row["metrics"]["off_policy/kl/behaviour_proximal"] > 0


def test_samples_of_older_weights_are_weighted(tmp_path):
    overrides = ("algorithm.max_lag=1", "hardware.attention=sdpa")
    (row,) = _train(tmp_path, *overrides, counts=[9])
    (plain,) = _train(tmp_path, overrides[1], counts=[9])
    assert "off_policy/truncated" in row["metrics"]
    assert "off_policy/truncated" not in plain["metrics"]
    ess = plain["metrics"]["off_policy/ess"]
    assert row["metrics"]["off_policy/ess"] == pytest.approx(ess, rel=1e-5)
    assert row["metrics"]["actor/pg_loss"] != plain["metrics"]["actor/pg_loss"]


def test_several_updates_keep_the_old_policy_and_the_learning_rate_of_their_step(tmp_path):
    overrides = ("algorithm.updates_per_step=2", "algorithm.epochs_per_step=2")
    rows = _train(tmp_path, *overrides, "hardware.attention=sdpa", counts=[9, 1])
    metrics = rows[0]["metrics"]
    # A step of one experience has no two mini-batches.
    assert [row["metrics"]["actor/updates"] for row in rows] == [4, 2]
    assert [row["rate"] for row in rows] == [1, 2]
    assert metrics["off_policy/kl/proximal_current"] > 0
    assert metrics["actor/ppo_kl"] != 0
