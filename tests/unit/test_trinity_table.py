"""Every setting of Trinity is obeyed, set aside with a word on a CPU, or refused by name."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from rlagent import LearnConfig
from rlagent.base.errors import ConfigError
from rlagent.config.check import check
from rlagent.config.resolve import Resolved, resolve
from rlagent.config.trinity_fate import keys_of_settings, line_of
from rlagent.config.trinity_schema import algorithm_types, trinity_spec
from rlagent.config.trinity_table import TABLE
from rlagent.machine.resources import GPU, Machine
from rlagent.trinity.native_data import prepare_native_data
from rlagent.trinity.translate import merge, to_trinity
from tests.configured import configured

CPU = Machine((), 2, 24)
GPUS = Machine((GPU("NVIDIA H100 80GB HBM3", 80),) * 8, 64, 1024)

SMALLEST = """
algorithm: {algorithm_type: grpo, repeat_times: 2}
model: {model_path: builtin:tiny, max_model_len: 512, max_response_tokens: 64}
buffer:
  batch_size: 2
  total_steps: 1
  explorer_input: {taskset: {path: builtin:gsm8k_tiny}}
cluster: {node_num: 1, gpu_per_node: GPUS}
"""


def nested(key: str, value: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def native(folder: Path, changes: dict[str, Any] | None = None, gpus: int = 0) -> LearnConfig:
    data = merge(yaml.safe_load(SMALLEST.replace("GPUS", str(gpus))), changes or {})
    (file := folder / "native.yaml").write_text(yaml.safe_dump(data))
    return LearnConfig.load_config(str(file))


def reasons(config: LearnConfig, machine: Machine = CPU) -> list[str]:
    """What is refused when the configuration is checked and resolved for a machine."""
    found = [str(problem) for problem in check(config, workflow_given=True)]
    try:
        resolve(config, machine)
    except ConfigError as error:
        found += [str(problem) for problem in error.problems if str(problem) not in found]
    return found


def tree(resolved: Resolved, folder: Path) -> dict[str, Any]:
    return to_trinity(resolved, folder / "run-1")


# ---- the table ----


def test_the_table_has_a_line_for_every_setting_and_no_line_for_anything_else() -> None:
    spec = trinity_spec()
    assert spec is not None
    settings, lines = list(keys_of_settings(spec)), frozenset(TABLE)
    assert [key for key in settings if line_of(key, lines) is None] == []
    assert sorted(lines - {line_of(key, lines) for key in settings}) == []


def test_what_is_refused_says_why_and_what_to_do() -> None:
    for key, fate in TABLE.items():
        assert fate.by or (fate.why and fate.remedy), key


# The settings of which it was found that they were accepted and without effect.
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mode", "explore"),
        ("mode", "bench"),
        ("mode", "train"),
        ("mode", "serve"),
        ("stages", [{"stage_name": "sft"}]),
        ("monitor.monitor_type", "mlflow"),
        ("monitor.monitor_args", {"base_url": "http://here"}),
        ("monitor.detailed_stats", True),
        ("service.data_juicer.auto_start", True),
        ("data_processor.task_pipeline.num_process", 8),
        ("algorithm.rollout_correction", {"rollout_is": "token"}),
        ("model.min_response_tokens", 5),
        ("model.tinker.enable", True),
        ("explorer.rollout_model.top_p", 0.5),
        ("explorer.runner_num", 4),
        ("trainer.trainer_strategy", "megatron"),
        ("buffer.explorer_input.default_workflow_type", "math_workflow"),
        ("buffer.explorer_input.default_eval_workflow_type", "math_workflow"),
        ("buffer.explorer_input.default_reward_fn_type", "math_reward"),
        ("buffer.explorer_input.taskset.default_workflow_type", "math_workflow"),
        ("buffer.explorer_input.taskset.reward_fn_args", {"a": 1}),
        ("buffer.explorer_input.taskset.rollout_args.logprobs", 3),
        ("buffer.explorer_input.taskset.format.system_prompt", "Think."),
        ("buffer.explorer_input.taskset.format.workflow_key", "workflow"),
    ],
)
@pytest.mark.parametrize("kind", ["native", "override"])
def test_a_setting_without_effect_is_refused_by_name(key, value, kind, tmp_path) -> None:
    prefix = "trinity." if kind == "override" else ""
    if prefix:
        config = configured("hardware=cpu")
        config.trinity = nested(key, value)
    else:
        config = native(tmp_path, nested(key, value))
    (reason,) = [str(problem) for problem in check(config, workflow_given=True)]
    # A group that does nothing is named as a whole.
    named = reason.partition("=")[0].partition(":")[0]
    assert f"{prefix}{key}".startswith(named)
    assert named.count(".") >= f"{prefix}{key}".count(".") - 1


def test_a_default_of_trinitys_that_is_written_out_is_no_mistake(tmp_path) -> None:
    changes = {"mode": "both", "monitor": {"detailed_stats": False}, "stages": []}
    assert reasons(native(tmp_path, changes)) == []


def test_columns_that_a_native_yaml_names_are_asked_of_every_row(tmp_path) -> None:
    (tmp_path / "train.jsonl").write_text('{"q": "1", "answer": "2"}\n{"question": "1"}\n')
    taskset = {"path": str(tmp_path), "format": {"prompt_key": "q", "response_key": "answer"}}
    config = native(tmp_path, nested("buffer.explorer_input.taskset", taskset))
    assert reasons(config) == []
    buffer = tree(resolve(config, CPU), tmp_path)["buffer"]
    with pytest.raises(ConfigError, match="has no q, answer"):
        prepare_native_data(buffer, tmp_path / "run-1", given=True)


def test_agentscopes_own_adapter_is_no_mistake(tmp_path) -> None:
    adapter = nested("buffer.explorer_input.default_workflow_type", "agentscope_workflow_adapter")
    assert reasons(native(tmp_path, adapter)) == []


def test_mistakes_are_all_named_at_once(tmp_path) -> None:
    changes = {
        "mode": "bench",
        "algorithm": {"algorithm_type": "grppo", "policy_loss_fn": "pppo"},
        "monitor": {"monitor_type": "mlflow"},
    }
    found = [line.partition(":")[0] for line in reasons(native(tmp_path, changes))]
    assert found == [
        "mode=bench",
        "monitor.monitor_type=mlflow",
        "algorithm.algorithm_type=grppo",
        "algorithm.policy_loss_fn=pppo",
    ]


# ---- ours instead of Trinity's ----


@pytest.mark.parametrize(
    ("key", "value", "ours"),
    [
        ("explorer.max_timeout", 900, "workflow.timeout"),
        ("monitor.monitor_type", "wandb", "monitor.type"),
        ("cluster.gpu_per_node", 2, "hardware.gpus"),
        ("continue_from_checkpoint", False, "run.fresh"),
        ("buffer.explorer_input.taskset.path", "elsewhere", "dataset.path"),
        # Trinity's own defaults are not what rlagent sets.
        ("trainer.trainer_type", "verl", "hardware.engine"),
        ("explorer.rollout_model.engine_type", "vllm", "hardware.engine"),
    ],
)
def test_an_override_of_what_a_key_of_ours_says_names_that_key(key, value, ours) -> None:
    config = configured("hardware=cpu")
    config.trinity = nested(key, value)
    (reason,) = reasons(config)
    assert reason.endswith(f"is what {ours} says; set {ours} instead")


def test_the_same_in_a_native_yaml_counts(tmp_path) -> None:
    changes = {
        "explorer": {"max_timeout": 900},
        "monitor": {"monitor_type": "wandb"},
        "continue_from_checkpoint": False,
        "cluster": {"ray_address": "10.0.0.1:6379"},
    }
    config = native(tmp_path, changes)
    assert reasons(config) == []
    assert config.workflow.timeout == 900
    assert config.monitor.type == "wandb"
    assert config.run.fresh
    assert config.hardware.ray == "10.0.0.1:6379"
    given = tree(resolve(config, CPU), tmp_path)
    # Trinity's own bound lies beyond that of the rollout, and it names no run after the time.
    assert given["explorer"]["max_timeout"] == 960
    assert given["continue_from_checkpoint"] is True


# ---- Trinity's functions ----


def test_an_unknown_algorithm_of_a_native_yaml_is_named_with_the_nearest(tmp_path) -> None:
    (reason,) = reasons(native(tmp_path, nested("algorithm.algorithm_type", "grp0")))
    assert reason.startswith("algorithm.algorithm_type=grp0: is no algorithm of Trinity")
    assert "did you mean grpo?" in reason


@pytest.mark.parametrize("name", ["mix_chord", "sft", "dpo", "ppo"])
def test_an_algorithm_that_cannot_learn_from_rollouts_is_refused(name, tmp_path) -> None:
    (reason,) = reasons(native(tmp_path, nested("algorithm.algorithm_type", name)))
    assert reason.startswith(f"algorithm.algorithm_type={name}: ")


def test_an_argument_that_a_loss_does_not_take_is_named_in_every_way_to_write_it(tmp_path) -> None:
    wrong = {"clip_rnge": 0.1}
    for config, key in (
        (configured("hardware=cpu", "algorithm.policy_loss_args={clip_rnge: 0.1}"), "ours"),
        (configured("hardware=cpu"), "trinity"),
        (native(tmp_path, nested("algorithm.policy_loss_fn_args", wrong)), "native"),
    ):
        if key == "trinity":
            config.trinity = nested("algorithm.policy_loss_fn_args", wrong)
        (reason,) = reasons(config)
        shown = {
            "ours": "algorithm.policy_loss_args.clip_rnge",
            "trinity": "trinity.algorithm.policy_loss_fn_args.clip_rnge",
            "native": "algorithm.policy_loss_fn_args.clip_rnge",
        }[key]
        assert reason.startswith(f"{shown}: policy_loss_fn ppo takes clip_range, ")
        assert "did you mean clip_range?" in reason


def test_arguments_that_trinity_would_swallow_unread_are_named(tmp_path) -> None:
    changes = {
        "algorithm_type": "multi_step_grpo",
        "advantage_fn_args": {"epsilon": 1e-6, "step_norm": True},
    }
    (reason,) = reasons(native(tmp_path, {"algorithm": changes}))
    assert reason.startswith("algorithm.advantage_fn_args.step_norm: ")
    assert "did you mean enable_step_norm?" in reason


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["algorithm=cispo", "algorithm.clip_range=0.2"], "algorithm.clip_range=0.2"),
        (["algorithm=dapo", "algorithm.kl_coef=0.1"], "algorithm.kl_coef=0.1"),
        (["algorithm=raft", "algorithm.entropy_coef=0.1"], "algorithm.entropy_coef=0.1"),
    ],
)
def test_a_coefficient_of_a_term_that_an_algorithm_has_not_is_refused(overrides, key) -> None:
    (problem,) = check(configured("hardware=cpu", *overrides), workflow_given=True)
    assert problem.head == key


def test_what_an_algorithm_has_not_can_be_added() -> None:
    added = ("algorithm=dapo", "algorithm.kl_coef=0.1", "trinity.algorithm.kl_loss_fn=k2")
    assert reasons(configured("hardware=cpu", *added)) == []


def test_names_and_arguments_read_from_the_source_are_those_of_the_classes() -> None:
    import inspect

    from trinity.algorithm import ADVANTAGE_FN, ALGORITHM_TYPE, POLICY_LOSS_FN

    from rlagent.config import trinity_functions

    for name in algorithm_types():
        read = trinity_functions.algorithm_defaults(name)
        told = ALGORITHM_TYPE.get(name).default_config()
        assert read == {key: value for key, value in told.items() if not isinstance(value, dict)}
    for folder, registry in (("policy_loss_fn", POLICY_LOSS_FN), ("advantage_fn", ADVANTAGE_FN)):
        for name, path in trinity_functions.registry(f"algorithm/{folder}").items():
            taken = trinity_functions.arguments_of(path)
            given = set(registry.get(name).default_args())
            assert taken is None or given <= set(taken), (name, given)
            parameters = inspect.signature(registry.get(name).__init__).parameters
            assert taken is None or set(taken) <= set(parameters), name


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("buffer.explorer_input.taskset.data_selector.selector_type", "hardest", "selector"),
        (
            "data_processor.experience_pipeline.operators",
            [{"name": "reward_filtr"}],
            "operator",
        ),
    ],
)
def test_an_unknown_selector_or_operator_is_named(key, value, what, tmp_path) -> None:
    (reason,) = reasons(native(tmp_path, nested(key, value)))
    assert f"is no {what} of Trinity; there are " in reason


# ---- what a native YAML lacks ----


def test_a_native_yaml_without_tasks_or_lengths_says_what_is_missing(tmp_path) -> None:
    (file := tmp_path / "native.yaml").write_text(
        "mode: both\nalgorithm: {algorithm_type: grpo, repeat_times: 2}\n"
        "model: {model_path: builtin:tiny}\nbuffer: {total_steps: 1}\n"
    )
    found = [line.partition(":")[0] for line in reasons(LearnConfig.load_config(str(file)))]
    assert found[:2] == ["model.max_model_len", "buffer.explorer_input.taskset.path"]


def test_a_length_that_means_nothing_beside_another_is_refused(tmp_path) -> None:
    (reason,) = reasons(native(tmp_path, nested("model.max_prompt_tokens", 100)))
    assert reason.startswith("model.max_prompt_tokens=100: means nothing beside")
    assert reasons(native(tmp_path, nested("model.max_prompt_tokens", 512 - 64))) == []


def test_the_longest_conversation_follows_from_prompt_and_response_as_in_trinity(tmp_path) -> None:
    changes = {"model": {"max_model_len": None, "max_prompt_tokens": 100}}
    config = native(tmp_path, changes)
    assert reasons(config) == []
    assert config.model.max_model_len == 164


# ---- a native YAML on the machine at hand ----

FOR_GPUS: dict[str, Any] = {
    "mode": "colocate",
    "cluster": {"node_num": 4, "gpu_per_node": 0},
    "explorer": {
        "rollout_model": {
            "engine_type": "vllm",
            "engine_num": 4,
            "tensor_parallel_size": 2,
            "gpu_memory_utilization": 0.8,
            "enforce_eager": True,
            "dtype": "bfloat16",
            "tool_call_parser": "hermes",
            "extra_engine_args": {"max_num_seqs": 8, "compilation_config": {"mode": 0}},
        },
        "auxiliary_models": [
            {"name": "judge", "model_path": "builtin:tiny", "tensor_parallel_size": 4}
        ],
    },
    "trainer": {
        "trainer_type": "verl",
        "param_offload": True,
        "ulysses_sequence_parallel_size": 2,
        "trainer_config": {"actor": {"ppo_mini_batch_size": 4}, "mini_batch_size": 4},
    },
    "synchronizer": {"sync_method": "nccl", "sync_style": "dynamic_by_explorer"},
}


def test_a_native_yaml_for_gpus_runs_on_a_cpu_with_its_gpu_count_changed_alone(tmp_path) -> None:
    config = native(tmp_path, FOR_GPUS)
    assert reasons(config) == []
    resolved = resolve(config, CPU)
    given = tree(resolved, tmp_path)
    engine = given["explorer"]["rollout_model"]
    assert (given["mode"], engine["engine_type"], engine["engine_num"]) == ("both", "embedded", 1)
    assert engine["tensor_parallel_size"] == 1
    assert engine["extra_engine_args"] == {"max_num_seqs": 8}
    (judge,) = given["explorer"]["auxiliary_models"]
    assert (judge["engine_type"], judge["tensor_parallel_size"]) == ("embedded", 1)
    assert given["trainer"]["trainer_type"] == "embedded"
    assert set(given["trainer"]["trainer_config"]) == {"seed", "threads", "mini_batch_size"}
    assert given["synchronizer"]["sync_method"] == "memory"
    # Engine, judge and trainer, as Trinity counts them.
    assert given["cluster"] == {"node_num": 1, "gpu_per_node": 3}
    (said,) = [line for line in resolved.choices if line.startswith("set aside on a CPU")]
    for key in (
        "trainer.param_offload",
        "explorer.rollout_model.enforce_eager",
        "explorer.rollout_model.engine_num",
        "synchronizer.sync_method",
        "cluster.node_num",
    ):
        assert key in said


def test_a_native_yaml_that_names_no_gpus_takes_what_is_there(tmp_path) -> None:
    changes = {"cluster": {"node_num": None, "gpu_per_node": None}}
    text = yaml.safe_load(SMALLEST.replace("GPUS", "0"))
    del text["cluster"], changes
    (file := tmp_path / "native.yaml").write_text(yaml.safe_dump(text))
    config = LearnConfig.load_config(str(file))
    assert resolve(config, CPU).config.hardware.engine == "embedded"
    assert resolve(config, GPUS).config.hardware.engine == "vllm"


def test_gpus_that_a_native_yaml_asks_for_and_that_are_not_here_are_refused(tmp_path) -> None:
    (reason,) = reasons(native(tmp_path, gpus=8))
    assert reason == (
        "cluster.gpu_per_node=8: this machine has no GPUs; "
        "set 0 to run on the CPU, or the GPUs of a node"
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.lora_configs", [{"lora_rank": 8}]),
        ("model.repetition_penalty", 1.2),
        ("algorithm.optimizer.clip_grad", 0.5),
        ("trainer.critic_warmup", 5),
        ("model.rope_theta", 1e6),
    ],
)
def test_what_a_cpu_would_train_otherwise_is_refused_there_and_obeyed_on_gpus(
    key, value, tmp_path
) -> None:
    (reason,) = reasons(native(tmp_path, nested(key, value)))
    assert key in reason
    assert "leave it out, or train on GPUs" in reason
    assert reasons(native(tmp_path, nested(key, value), gpus=2), GPUS) == []


@pytest.mark.parametrize(
    ("override", "by"),
    [("trainer.param_offload=true", "verl"), ("synchronizer.sync_method=nccl", "NCCL")],
)
def test_an_override_for_gpus_is_refused_on_a_cpu(override, by) -> None:
    config = configured("hardware=cpu", f"trinity.{override}")
    assert reasons(config) == [
        f"trinity.{override}: means nothing on a CPU: it is for {by}; leave it out"
    ]
    assert reasons(configured("hardware=cpu", "trinity.synchronizer.sync_method=checkpoint")) == []


def test_the_cpu_engine_set_in_python_runs_a_native_yaml_for_gpus(tmp_path) -> None:
    from rlagent.config.python_changes import with_python_changes

    config = native(tmp_path, FOR_GPUS | {"cluster": {"node_num": 2, "gpu_per_node": 4}})
    config.hardware.engine = "embedded"
    config.hardware.gpus = 0
    changed, problems = with_python_changes(config)
    assert problems == []
    assert reasons(changed) == []
    assert tree(resolve(changed, CPU), tmp_path)["trainer"]["trainer_type"] == "embedded"


# ---- ours on the machine at hand ----


def test_a_judge_on_a_cpu_has_an_engine_of_its_own(tmp_path) -> None:
    judge = "workflow.auxiliary_models=[{name: judge, path: builtin:tiny}]"
    given = tree(resolve(configured("hardware=cpu", judge), CPU), tmp_path)
    (model,) = given["explorer"]["auxiliary_models"]
    assert model["engine_type"] == "embedded"
    assert Path(model["model_path"], "config.json").is_file()
    # Trinity counts a GPU for each engine and for the trainer.
    assert given["cluster"] == {"node_num": 1, "gpu_per_node": 3}


def test_an_algorithm_whose_loss_reads_no_advantage_names_one_that_can_be_computed(
    tmp_path,
) -> None:
    from rlagent.config.algorithms import SUPERVISED, UNSUPPORTED, WITHOUT_ADVANTAGE
    from rlagent.config.trinity_functions import algorithm_defaults

    without = {name for name in algorithm_types() if "advantage_fn" not in algorithm_defaults(name)}
    assert without - {*UNSUPPORTED, *SUPERVISED} == set(WITHOUT_ADVANTAGE)
    ours = tree(resolve(configured("hardware=cpu", "algorithm=raft"), CPU), tmp_path)
    assert ours["algorithm"]["advantage_fn"] == "reinforce"
    theirs = native(tmp_path, nested("algorithm.algorithm_type", "raft"))
    assert tree(resolve(theirs, CPU), tmp_path)["algorithm"]["advantage_fn"] == "reinforce"


def test_a_loss_of_the_users_own_takes_what_it_likes() -> None:
    given = "trinity.algorithm.policy_loss_fn=my_losses.Mine"
    assert check(configured(given, "algorithm.clip_range=0.3")) == []
