"""`hardware=8gpu` is the upstream example, but for what the experiment's README lists."""

from pathlib import Path

from rlagent.config.compose import compose
from rlagent.config.resolve import resolve
from rlagent.machine.resources import Machine
from rlagent.trinity.translate import to_trinity

README = Path(__file__).parents[2] / "experiments" / "gsm8k_react" / "README.md"

UPSTREAM = {
    "mode": "both",
    "algorithm.algorithm_type": "multi_step_grpo",
    "algorithm.repeat_times": 8,
    "algorithm.optimizer.lr": 1e-6,
    "algorithm.bypass_old_logprobs": True,
    "model.model_path": "Qwen/Qwen3-8B",
    "model.max_response_tokens": 16384,
    "model.max_model_len": 24576,
    "model.temperature": 1.0,
    "model.enable_thinking": True,
    "cluster.node_num": 1,
    "cluster.gpu_per_node": 8,
    "buffer.total_epochs": 1,
    "buffer.batch_size": 32,
    "buffer.train_batch_size": 256,
    "buffer.explorer_input.tasksets.0.path": "openai/gsm8k",
    "buffer.explorer_input.tasksets.0.subset_name": "main",
    "buffer.explorer_input.tasksets.0.split": "train",
    "explorer.rollout_model.engine_type": "vllm",
    "explorer.rollout_model.engine_num": 4,
    "explorer.rollout_model.tensor_parallel_size": 1,
    "explorer.rollout_model.enable_prefix_caching": False,
    "explorer.rollout_model.enforce_eager": False,
    "explorer.rollout_model.enable_openai_api": True,
    "explorer.rollout_model.enable_history": True,
    "explorer.rollout_model.enable_auto_tool_choice": True,
    "explorer.rollout_model.tool_call_parser": "hermes",
    "explorer.rollout_model.reasoning_parser": "deepseek_r1",
    "explorer.rollout_model.dtype": "bfloat16",
    "synchronizer.sync_style": "dynamic_by_explorer",
    "synchronizer.sync_method": "nccl",
    "synchronizer.sync_interval": 2,
    "synchronizer.sync_timeout": 1200,
    "trainer.save_interval": 100,
    "trainer.use_dynamic_bsz": True,
    "trainer.max_token_len_per_gpu": 24576,
    "trainer.ulysses_sequence_parallel_size": 2,
}
"""What upstream's GSM8K ReAct example sets, by dotted key."""


def _get(tree, key):
    for part in key.split("."):
        tree = tree[int(part)] if isinstance(tree, list) else tree.get(part)
        if tree is None:
            return None
    return tree


def test_every_difference_from_upstream_is_listed():
    config = compose(["+experiment=gsm8k_react", "hardware=8gpu"])
    resolved = resolve(config, Machine(gpus=(), cores=64, memory_gib=512), plan_only=True)
    tree = to_trinity(resolved, "outputs/run")
    differing = {key for key, value in UPSTREAM.items() if _get(tree, key) != value}
    listed = README.read_text()
    assert differing == {
        "buffer.total_epochs",
        "synchronizer.sync_style",
        "synchronizer.sync_timeout",
        "algorithm.bypass_old_logprobs",
    }
    assert all(f"`{key}`" in listed for key in differing)
