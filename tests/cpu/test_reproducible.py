"""Equal seeds draw and train the same bits on a CPU, from start to end and over a resume."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.cpu.runs import Run, run

pytestmark = pytest.mark.slow

STEPS, HALF = 10, 5
EXACT = ("actor/pg_loss", "actor/grad_norm", "actor/entropy", "tokens/trained")
"""What of a trained step does not depend on time."""


def _weights(done: Run) -> dict[str, torch.Tensor]:
    (file,) = done.folder.path.glob(f"checkpoints/global_step_{STEPS}/actor/model.safetensors")
    return load_file(file)


def _train(directory: Path, steps: int = STEPS) -> Run:
    overrides = ("dataset.eval_split=null", f"algorithm.save_interval={HALF}")
    done = run(directory, *overrides, f"algorithm.total_steps={steps}")
    assert done.returncode == 0, done.output
    return done


def _assert_equal(one: Run, other: Run) -> None:
    for name in EXACT:
        assert one.series(name, "trainer") == other.series(name, "trainer"), name
    rewards = "rollout/reward/mean"
    assert one.series(rewards, "explorer") == other.series(rewards, "explorer")
    mine, theirs = _weights(one), _weights(other)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_equal_seeds_give_the_same_bits_and_a_resumed_run_those_of_the_uninterrupted(
    tmp_path,
) -> None:
    straight = _train(tmp_path / "straight")
    _assert_equal(straight, _train(tmp_path / "again"))
    _train(tmp_path / "resumed", HALF)
    resumed = _train(tmp_path / "resumed")
    assert resumed.status["attempt"] == 2
    _assert_equal(straight, resumed)
