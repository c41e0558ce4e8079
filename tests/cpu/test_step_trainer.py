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
    rows = _train(tmp_path, counts=[37, 0, 5])
    assert [row["moved"] for row in rows] == [True, False, True]
    assert [row["step"] for row in rows] == [1, 2, 3]
    metrics = rows[0]["metrics"]
    assert metrics["actor/ppo_kl"] == 0
    assert metrics["actor/entropy"] > 0
    assert metrics["training/rollout_probs_diff_max"] > 0
    assert metrics["tokens/trained"] > 0
    assert {"actor/pg_loss", "actor/grad_norm", "actor/rollout_kl"} <= set(metrics)


@pytest.mark.parametrize("attention", ["sdpa", "packed"])
def test_old_log_probabilities_of_the_rollout_engine_can_be_taken_instead(tmp_path, attention):
    overrides = ("algorithm.recompute_old_logprobs=false", f"hardware.attention={attention}")
    (row,) = _train(tmp_path, *overrides, counts=[9])
    assert row["moved"]
    assert row["metrics"]["actor/ppo_kl"] == pytest.approx(row["metrics"]["actor/rollout_kl"])
