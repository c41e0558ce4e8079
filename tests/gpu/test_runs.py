"""Small real runs on GPUs: vLLM rollouts, verl training, weight sync, resume and export."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rlagent.records.checkpoints import ADAPTER
from rlagent.records.folder import RunFolder

SMALL = [
    "+experiment=gsm8k_react",
    "model=tiny",
    "monitor=local",
    "hardware.ray=start",
    "hardware.enforce_eager=true",
    # Room for other work on the same GPUs.
    "hardware.gpu_memory_utilization=0.25",
    "algorithm.batch_size=5",
    "algorithm.repeat_times=3",
    "dataset.eval_tasks=32",
]
"""15 rollouts of two or three calls each: a number of experiences that nothing divides."""


def _train(folder: Path, *overrides: str) -> RunFolder:
    command = [sys.executable, "-m", "rlagent.train", *SMALL, f"run.dir={folder}", *overrides]
    subprocess.run(command, check=True, timeout=580)
    return RunFolder((folder / "latest").resolve())


def _metrics(run: RunFolder, role: str) -> list[dict[str, float]]:
    return [row["metrics"] for row in run.read_metrics(role)]


@pytest.mark.parametrize("gpus", [1, 2])
def test_a_run_trains_on_whole_steps_and_on_policy(tmp_path, gpus):
    run = _train(tmp_path, f"hardware={gpus}gpu", "algorithm.total_steps=3")
    status = run.read_status()
    assert (status["state"], status["steps_trained"]) == ("finished", 3)
    assert status["valid_before"] > 0.9
    explored = [m.get("rollout/experiences", 0) for m in _metrics(run, "explorer")]
    trained = [m for m in _metrics(run, "trainer") if "sample/experiences" in m]
    assert len(trained) == 3
    assert sum(m["sample/experiences"] for m in trained) == sum(explored)
    for metrics in trained:
        assert metrics["sample/lag"] == 0
        # bf16 on both sides, other kernels.
        assert metrics["off_policy/kl/behaviour_proximal"] < 0.01


@pytest.mark.parametrize("gpus", [1, 2])
def test_a_run_goes_on_from_its_checkpoint_and_exports_what_vllm_loads(tmp_path, gpus):
    keep = (f"hardware={gpus}gpu", "algorithm.save_interval=1")
    _train(tmp_path, *keep, "algorithm.total_steps=1")
    run = _train(tmp_path, *keep, "algorithm.total_steps=2")
    assert run.read_status()["steps_trained"] == 2
    steps = [
        row["step"] for row in run.read_metrics("trainer") if "actor/pg_loss" in row["metrics"]
    ]
    assert steps == [1, 2]
    export = next(run.path.glob("checkpoints/**/global_step_2/actor/huggingface"))
    assert "attn_implementation" not in json.loads((export / "config.json").read_text())
    of_export = (f"model.path={export}", "dataset=gsm8k_tiny", "algorithm.total_steps=1")
    again = _train(tmp_path / "again", *keep, *of_export)
    assert again.read_status()["state"] == "finished"


@pytest.mark.parametrize("gpus", [2])
def test_a_run_that_explores_one_step_ahead_ends_with_the_last_weights(tmp_path, gpus):
    ahead = (f"hardware={gpus}gpu", "algorithm.max_lag=1", "algorithm.total_steps=3")
    run = _train(tmp_path, *ahead, "run.stall_timeout=120")
    assert run.read_status()["state"] == "finished"
    trained = [m for m in _metrics(run, "trainer") if "sample/lag" in m]
    assert [m["sample/lag"] for m in trained] == [0, 1, 1]
    # Weighted by default; the engine's probabilities are those of the weights that sampled.
    assert all(m["off_policy/ess"] > 0.5 and "off_policy/truncated" in m for m in trained)
    times = next(m for m in _metrics(run, "driver") if "time/startup" in m)
    assert times["startup/ray"] < times["startup/engine_process"] < times["startup/engine_ready"]
    assert times["startup/engine_ready"] <= times["startup/weights_synced"] <= times["time/startup"]


@pytest.mark.parametrize("gpus", [1, 2])
def test_an_adapter_is_trained_sampled_with_and_resumed(tmp_path, gpus):
    keep = (f"hardware={gpus}gpu", "model.lora.rank=8", "algorithm.save_interval=1")
    _train(tmp_path, *keep, "algorithm.total_steps=2")
    run = _train(tmp_path, *keep, "algorithm.total_steps=3")
    assert run.read_status()["steps_trained"] == 3
    assert (run.checkpoints / "global_step_3" / ADAPTER).is_file()
    # Were the base sampled from, the policies would be further apart with each step.
    trained = [m for m in _metrics(run, "trainer") if "off_policy/kl/behaviour_proximal" in m]
    assert all(m["off_policy/kl/behaviour_proximal"] < 0.01 for m in trained)
