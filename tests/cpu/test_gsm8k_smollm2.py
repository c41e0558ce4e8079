"""Warm start and reinforcement of SmolLM2 on the real GSM8K by one command, a few steps of each."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import smollm2

from rlagent.records.folder import RunFolder, run_folders
from rlagent.records.parents import lineage

GSM8K = Path(__file__).parents[3] / "shared" / "data" / "gsm8k"
WARM = '["algorithm.total_steps=4","algorithm.batch_size=4","model.max_model_len=768"]'


def train(root: Path, model: Path, *overrides: str) -> str:
    command = [
        *(sys.executable, "-m", "rlagent.train", "+experiment=gsm8k_smollm2", "hardware=cpu"),
        *(f"model.path={model}", f"dataset.path={GSM8K}", f"run.dir={root}", "monitor=local"),
        *("model.max_model_len=1024", "model.max_response_tokens=32", "dataset.eval_tasks=2"),
        *("algorithm.total_steps=1", "algorithm.batch_size=1", "algorithm.repeat_times=2"),
        *("algorithm.eval_interval=0", f"model.warm_start_overrides={WARM}"),
        *overrides,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def finished(root: Path) -> dict[str, RunFolder]:
    found = {run.name.rpartition("-")[0]: run for run in run_folders(root)}
    assert all(run.read_status()["state"] == "finished" for run in found.values())
    return found


@pytest.mark.slow
def test_the_warm_start_is_trained_once_and_reinforcement_starts_from_it(tmp_path: Path) -> None:
    if not GSM8K.is_dir():
        pytest.skip("no GSM8K beside the checkout")
    root, model = tmp_path / "outputs", tmp_path / "model"
    smollm2.make(model)
    said = train(root, model)
    assert "first: " in said
    runs = finished(root)
    assert sorted(runs) == ["gsm8k_smollm2", "gsm8k_smollm2_warm"]
    warm = runs["gsm8k_smollm2_warm"]
    losses = [
        row["metrics"]["actor/sft_loss"]
        for row in warm.read_metrics("trainer")
        if "actor/sft_loss" in row["metrics"]
    ]
    assert losses[-1] < losses[0]
    [line] = lineage(runs["gsm8k_smollm2"])
    assert (line["run"], line["step"]) == (warm.name, 4)
    [taught] = (root / "conversations").glob("*.jsonl")
    questions = {json.loads(row)["question"] for row in (GSM8K / "test.jsonl").open()}
    learnt = {json.loads(row)["messages"][1]["content"] for row in taught.open()}
    assert not questions & learnt
    # The same command again has nothing to do, and trains no second warm start.
    again = train(root, model)
    assert "first: " not in again
    assert "done on" in again
