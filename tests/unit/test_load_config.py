"""Configuration files: ours and Trinity's own, both strictly."""

from pathlib import Path

import pytest

from rlagent import LearnConfig
from rlagent.base.errors import ConfigError
from rlagent.config.check import check
from rlagent.config.compose import compose, to_yaml
from rlagent.config.identity import trial_id
from rlagent.config.load import NativeConfig
from rlagent.config.prepare import measuring_keys
from rlagent.config.resolve import resolve
from rlagent.machine.resources import GPU, Machine
from tests.configured import configured

NATIVE = """
project: AgentScope
name: GSM8K-Qwen3-8B
checkpoint_root_dir: ${oc.env:TRINITY_CHECKPOINT_ROOT_DIR,./checkpoints}
algorithm:
  algorithm_type: multi_step_grpo
  repeat_times: 8
  optimizer:
    lr: 1e-6
model:
  model_path: ${oc.env:TRINITY_MODEL_PATH,Qwen/Qwen3-8B}
  max_response_tokens: 16384
  max_model_len: 24576
cluster:
  node_num: 1
  gpu_per_node: 8
buffer:
  total_epochs: 1
  batch_size: 32
  train_batch_size: 256
  explorer_input:
    taskset:
      name: gsm8k
      storage_type: file
      path: openai/gsm8k
      subset_name: main
      split: train
      rollout_args:
        temperature: 1.0
explorer:
  rollout_model:
    engine_num: 4
    tensor_parallel_size: 1
    enable_prefix_caching: false
    tool_call_parser: hermes
    reasoning_parser: deepseek_r1
synchronizer:
  sync_style: dynamic_by_explorer
  sync_method: nccl
  sync_interval: 2
trainer:
  save_interval: 100
  ulysses_sequence_parallel_size: 2
monitor:
  monitor_type: tensorboard
"""


def write(folder: Path, text: str) -> str:
    file = folder / "config.yaml"
    file.write_text(text)
    return str(file)


def reasons(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        LearnConfig.load_config(write(folder, text))
    return [str(problem) for problem in caught.value.problems]


def test_what_plan_prints_is_read_back_equal(tmp_path: Path) -> None:
    config = compose(["+experiment=gsm8k_react", "seed=4", "trinity.trainer.grad_clip=2"])
    assert LearnConfig.load_config(write(tmp_path, to_yaml(config))) == config


@pytest.mark.parametrize(
    "text",
    [
        "say ${name}",
        "${unclosed",
        "$ { } ${} $${x}",
        "\\${x} \\\\${y} \\",
        "${oc.env:HOME}",
        "Bearer ${oc.env:MY_KEY} and ${name}",
        "\\${oc.env:HOME}",
        "two\nlines: ${a.b}",
    ],
)
def test_texts_that_look_like_interpolations_are_read_back_as_they_were(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    config = LearnConfig()
    config.workflow.args = {"hint": text, "deep": [{"again": text}]}
    config.algorithm.advantage_args = {"note": text}
    config.run.name = text
    read = LearnConfig.load_config(write(tmp_path, to_yaml(config)))
    assert read == config


def test_a_resolved_configuration_is_accepted_again_from_its_file(tmp_path: Path) -> None:
    # As a run's folder has it, and `rlagent evaluate RUN` reads it.
    resolved = resolve(configured("hardware=cpu"), Machine((), 2, 24)).config
    read = LearnConfig.load_config(write(tmp_path, to_yaml(resolved)))
    assert check(read) == []
    assert resolve(read, Machine((), 2, 24)).config == resolved
    assert measuring_keys(read) == []


def test_an_interpolation_of_a_file_is_resolved_and_a_reference_to_a_secret_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sesame")
    text = "seed: 3\nrun: {name: 'n-${seed}'}\nworkflow: {args: {key: '${oc.env:MY_KEY}'}}\n"
    config = LearnConfig.load_config(write(tmp_path, text))
    assert config.run.name == "n-3"
    assert config.workflow.args == {"key": "${oc.env:MY_KEY}"}
    assert "sesame" not in to_yaml(config)


def test_a_part_of_a_configuration_is_enough(tmp_path: Path) -> None:
    config = LearnConfig.load_config(write(tmp_path, "model:\n  path: builtin:tiny\nseed: 5\n"))
    assert (config.model.path, config.seed) == ("builtin:tiny", 5)
    assert not isinstance(config, NativeConfig)


def test_unknown_keys_and_wrong_types_of_ours_are_all_named(tmp_path: Path) -> None:
    found = reasons(
        tmp_path, "seed: x\nalgorithm:\n  lrr: 1\nhardwear:\n  gpus: 2\ntrinity:\n  trainr: {}\n"
    )
    assert len(found) == 4
    assert any("did you mean algorithm.lr?" in line for line in found)
    assert any("did you mean hardware?" in line for line in found)
    assert any("did you mean trinity.trainer?" in line for line in found)


def test_a_native_yaml_is_carried_unchanged(tmp_path: Path) -> None:
    config = LearnConfig.load_config(write(tmp_path, NATIVE))
    assert isinstance(config, NativeConfig)
    assert config.native["synchronizer"] == {
        "sync_style": "dynamic_by_explorer",
        "sync_method": "nccl",
        "sync_interval": 2,
    }
    assert config.native["model"]["model_path"] == "Qwen/Qwen3-8B"


def test_a_native_yaml_is_mirrored_in_our_fields(tmp_path: Path) -> None:
    config = LearnConfig.load_config(write(tmp_path, NATIVE))
    assert config.algorithm.name == "multi_step_grpo"
    assert config.algorithm.lr == 1e-6
    assert config.model.max_model_len == 24576
    assert config.dataset.path == "openai/gsm8k"
    assert config.hardware.gpus == 8
    assert config.run.name == "GSM8K-Qwen3-8B"
    assert config.monitor.type == "tensorboard"
    assert check(config, workflow_given=True) == []
    result = resolve(config, Machine((GPU("H20", 96),) * 8, 64, 512))
    assert str(result.layout) == "4x1+4s2"
    assert result.config.algorithm.total_steps == 233


def test_a_native_yaml_needs_its_gpus(tmp_path: Path) -> None:
    config = LearnConfig.load_config(write(tmp_path, NATIVE))
    with pytest.raises(ConfigError, match="this machine has no GPUs"):
        resolve(config, Machine((), 2, 24))


def test_different_native_files_are_different_trials(tmp_path: Path) -> None:
    one = trial_id(LearnConfig.load_config(write(tmp_path, NATIVE)))
    other = NATIVE.replace("enable_prefix_caching: false", "enable_prefix_caching: true")
    assert trial_id(LearnConfig.load_config(write(tmp_path, other))) != one


def test_unknown_keys_and_words_of_a_native_yaml_are_all_named(tmp_path: Path) -> None:
    text = NATIVE.replace("save_interval: 100", "save_intervall: 100")
    text = text.replace("batch_size: 32", "batch_sizes: 32").replace("nccl", "ncll")
    found = reasons(tmp_path, text)
    assert len(found) == 3
    assert any("did you mean trainer.save_interval?" in line for line in found)
    assert any("did you mean buffer.batch_size?" in line for line in found)
    assert any("sync_method=ncll" in line and "did you mean nccl?" in line for line in found)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("", "holds no settings"), ("a: [1", "cannot be read"), ("- 1\n", "holds no settings")],
)
def test_a_file_that_is_no_configuration_says_so(text: str, reason: str, tmp_path: Path) -> None:
    (line,) = reasons(tmp_path, text)
    assert reason in line


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^/no/such/config\.yaml: there is no such file"):
        LearnConfig.load_config("/no/such/config.yaml")
