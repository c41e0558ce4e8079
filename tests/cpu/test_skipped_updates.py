"""A gradient that is not finite costs its update, and nothing else."""

import asyncio
import math

import torch
from trainer_fixtures import (
    largest_difference,
    make_config,
    make_experiences,
    make_model,
    prepared,
    step,
    weights,
    with_advantages,
)


def test_a_step_without_a_finite_gradient_leaves_the_weights_and_the_next_one_trains(tmp_path):
    trainer = prepared(make_config(make_model(tmp_path / "model"), tmp_path / "checkpoints"))
    before = weights(trainer)
    spoilt = with_advantages(trainer.config, make_experiences())
    spoilt[0].advantages = torch.full_like(spoilt[0].advantages, math.nan)
    metrics = asyncio.run(trainer.train_step(spoilt))
    assert metrics["actor/skipped_updates"] == 1.0
    assert "actor/grad_norm" not in metrics
    assert largest_difference(before, weights(trainer)) == 0.0
    assert trainer.train_step_num == 1
    metrics = step(trainer)
    assert metrics["actor/skipped_updates"] == 0.0
    assert metrics["actor/grad_norm"] > 0
    assert largest_difference(before, weights(trainer)) > 0
