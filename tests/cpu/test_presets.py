"""Every shipped algorithm trains on a CPU, and what is made for GPUs runs there too."""

import textwrap
from pathlib import Path

import pytest

from rlagent.base.paths import conf_dir
from tests.cpu.runs import run
from tests.cpu.test_python_interface import _run_script, _script

# Supervision learns from conversations, not from tasks: test_sft.py.
ALGORITHMS = sorted({file.stem for file in (conf_dir() / "algorithm").glob("*.yaml")} - {"sft"})

FOR_GPUS = """
mode: both
project: AgentScope
name: native
algorithm: {algorithm_type: multi_step_grpo, repeat_times: 2, optimizer: {lr: 1.0e-4}}
model: {model_path: builtin:tiny, max_response_tokens: 64, max_model_len: 1024}
cluster: {node_num: 1, gpu_per_node: 0}
buffer:
  total_steps: 2
  batch_size: 4
  train_batch_size: 8
  explorer_input:
    taskset:
      path: builtin:gsm8k_tiny
      split: train
      rollout_args: {temperature: 1.0, top_k: 20}
      workflow_args: {side: good}
    eval_tasksets: []
explorer:
  runner_per_model: 3
  max_timeout: 700
  env_vars: {SIDE: good}
  rollout_model:
    engine_type: vllm
    engine_num: 4
    enable_openai_api: true
    enable_history: true
    enable_auto_tool_choice: true
    tool_call_parser: hermes
    enable_prefix_caching: false
    dtype: bfloat16
  auxiliary_models:
    - {name: judge, model_path: builtin:tiny, max_response_tokens: 16, tensor_parallel_size: 2}
synchronizer: {sync_style: dynamic_by_explorer, sync_method: nccl, sync_timeout: 1800}
trainer:
  trainer_type: verl
  save_interval: 100
  param_offload: true
  ulysses_sequence_parallel_size: 2
  trainer_config: {actor: {ppo_epochs: 1}}
monitor: {monitor_type: tensorboard}
log: {level: WARNING}
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_shipped_algorithm_trains_a_step(name: str, tmp_path: Path) -> None:
    small = ("algorithm.repeat_times=2", "dataset.eval_tasks=4", "monitor=local")
    result = run(tmp_path, f"algorithm={name}", "algorithm.total_steps=1", *small)
    assert result.returncode == 0, result.output
    assert result.status["steps_trained"] == 1


@pytest.mark.slow
def test_a_native_yaml_for_gpus_trains_with_a_judge_on_a_cpu(tmp_path: Path) -> None:
    (tmp_path / "native.yaml").write_text(FOR_GPUS)
    script = _script(
        tmp_path,
        textwrap.dedent(
            """
            import os

            from agentscope.tuner import WorkflowOutput

            from rlagent import LearnConfig, learn


            async def solve(task, model, auxiliary_models):
                await model([{"role": "user", "content": task["question"]}])
                said = await auxiliary_models["judge"]([{"role": "user", "content": "2+2?"}])
                metrics = {
                    "side": float(task["workflow_args"] == {"side": "good"}),
                    "variable": float(os.environ["SIDE"] == "good"),
                    "judged": float(bool(said.content)),
                }
                return WorkflowOutput(reward=1.0, metrics=metrics)


            if __name__ == "__main__":
                config = LearnConfig.load_config("native.yaml")
                config.monitor.type = "local"
                learn(solve, config)
            """
        ),
    )
    result = _run_script(tmp_path, script, 600)
    assert result.returncode == 0, result.output
    assert result.status["steps_trained"] == 2
    for name in ("side", "variable", "judged"):
        assert result.series(f"rollout/{name}/mean", "explorer") == {1: 1.0, 2: 1.0}
    assert "set aside on a CPU" in result.output


@pytest.mark.slow
def test_a_judge_model_of_our_configuration_serves_on_a_cpu(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "algorithm: {total_steps: 1, batch_size: 4, repeat_times: 2}\n"
        "hardware: {engine: embedded}\n"
        "dataset: {eval_split: null}\n"
        "monitor: {type: local}\n"
        "workflow: {auxiliary_models: [{name: judge, path: builtin:tiny}]}\n"
    )
    script = _script(
        tmp_path,
        """
        from rlagent import LearnConfig, learn


        async def solve(task, model, auxiliary_models):
            await model([{"role": "user", "content": task["question"]}])
            said = await auxiliary_models["judge"]([{"role": "user", "content": "2+2?"}])
            return float(bool(said.content))


        if __name__ == "__main__":
            learn(solve, LearnConfig.load_config("config.yaml"))
        """,
    )
    result = _run_script(tmp_path, script, 600)
    assert result.returncode == 0, result.output
    assert result.series("rollout/reward/mean", "explorer") == {1: 1.0}
