"""What is chosen for GPUs by what is installed there, and what Trinity is told."""

import pytest
from configured import configured

from rlagent.base.errors import ConfigError
from rlagent.config.resolve import resolve
from rlagent.machine.flash_attention import PACKED
from rlagent.machine.resources import GPU, Machine
from rlagent.trinity.translate import to_trinity


def machine(flash_attention: str | None, count: int = 2) -> Machine:
    gpus = (GPU("NVIDIA H200", 141.0),) * count
    return Machine(gpus, 16, 128, flash_attention=flash_attention)


def tree_of(flash_attention, *overrides):
    resolved = resolve(configured("hardware=2gpu", *overrides), machine(flash_attention))
    return to_trinity(resolved, "outputs/run")


def test_with_flash_attention_verl_is_left_to_itself():
    trainer = tree_of("2.8.3", "model=tiny")["trainer"]
    assert not {"use_remove_padding", "trainer_config"} & set(trainer)


@pytest.mark.parametrize(
    ("overrides", "name", "packs"),
    [([], PACKED, True), (["hardware.attention=sdpa"], "sdpa", False)],
)
def test_without_it_the_trainer_takes_torchs_kernels_and_says_so(overrides, name, packs):
    resolved = resolve(configured("hardware=2gpu", "model=tiny", *overrides), machine(None))
    trainer = to_trinity(resolved, "outputs/run")["trainer"]
    assert trainer["use_remove_padding"] is packs
    model = trainer["trainer_config"]["model"]
    assert model["override_config"]["attn_implementation"] == name
    said = [line for line in resolved.choices if line.startswith("trainer attention")]
    assert len(said) == (not overrides)


def test_adam_goes_over_host_memory_once_where_the_state_waits_there():
    offload = ("hardware.offload=true", "hardware.layout=1x1+1", "model=tiny")
    for flash_attention in ("2.8.3", None):
        with_it = tree_of(flash_attention, *offload)["trainer"]["trainer_config"]
        assert with_it["actor"] == {"optim": {"override_optimizer_config": {"fused": True}}}
        assert ("model" in with_it) is (flash_attention is None)
    assert "actor" not in tree_of(None, "model=tiny")["trainer"]["trainer_config"]


def test_a_plan_for_gpus_elsewhere_says_what_happens_where_it_is_not_installed():
    resolved = resolve(configured("hardware=8gpu"), machine(None, 0), plan_only=True)
    (said,) = (line for line in resolved.choices if line.startswith("trainer attention"))
    assert "where it is not installed `packed`" in said
    resolved = resolve(configured("hardware=2gpu"), machine("2.8.3"))
    (said,) = (line for line in resolved.choices if line.startswith("trainer attention"))
    assert "not installed" not in said


def test_without_it_no_sequence_is_shared_and_who_asks_is_refused():
    long = configured("hardware=8gpu", "model=qwen3_8b", "model.max_model_len=24576")
    assert "s2" in str(resolve(long, machine("2.8.3", 8)).layout)
    assert "s" not in str(resolve(long, machine(None, 8)).layout)
    asked = configured("hardware=8gpu", "model=qwen3_8b", "hardware.layout=4x1+4s2")
    with pytest.raises(ConfigError, match=r"flash-attn, which is not installed; take 4x1\+4$"):
        resolve(asked, machine(None, 8))


def test_flash_attention_that_is_not_there_is_refused():
    asked = configured("hardware=2gpu", "model=tiny", "hardware.attention=flash_attention_2")
    with pytest.raises(ConfigError, match="flash-attn is not installed"):
        resolve(asked, machine(None))


@pytest.mark.parametrize(
    ("overrides", "free"),
    [
        (["hardware=2gpu"], True),
        (["hardware=2gpu", "model.tool_call_parser=null"], False),
        (["hardware=2gpu", "model.tool_choice=as_asked"], False),
        (["hardware=cpu"], False),
        (["hardware=cpu", "model.tool_choice=free"], True),
    ],
)
def test_tool_calls_are_sampled_freely_where_vllm_would_force_another_form(overrides, free):
    resolved = resolve(configured("model=tiny", *overrides), machine(None))
    train = to_trinity(resolved, "outputs/run")["buffer"]["explorer_input"]["tasksets"][0]
    assert train["workflow_args"]["free_tool_choice"] is free


def test_free_tool_calls_without_a_parser_are_refused():
    asked = ["hardware=2gpu", "model=tiny", "model.tool_call_parser=null", "model.tool_choice=free"]
    with pytest.raises(ConfigError, match="tool_call_parser"):
        resolve(configured(*asked), machine(None))


def test_verl_trains_on_whole_steps_unless_a_number_is_given():
    whole = tree_of(None, "model=tiny")
    assert whole["algorithm"]["sample_strategy"].endswith("WholeStepSampling")
    fixed = tree_of(None, "model=tiny", "algorithm.train_batch_size=64")
    assert "sample_strategy" not in fixed["algorithm"]
    assert fixed["buffer"]["train_batch_size"] == 64


@pytest.mark.parametrize(
    ("model", "tokens"), [("tiny", 65536), ("qwen3_0_6b", 14134), ("smollm2_135m", 43690)]
)
def test_micro_batches_are_as_large_as_their_logits_allow(model, tokens):
    trainer = tree_of(None, f"model={model}")["trainer"]
    assert trainer["max_token_len_per_gpu"] == tokens


def test_an_engine_is_made_for_the_rollouts_that_it_gets_at_once():
    rollout = tree_of(None, "model=tiny")["explorer"]["rollout_model"]
    arguments = rollout["extra_engine_args"]
    assert arguments["max_num_seqs"] == 16 * 8
    assert arguments["compilation_config"]["cudagraph_capture_sizes"][-1] == 2 * 16 * 8


def test_graphs_that_are_not_wanted_have_no_sizes():
    rollout = tree_of(None, "model=tiny", "hardware.enforce_eager=true")["explorer"][
        "rollout_model"
    ]
    assert rollout["extra_engine_args"] == {"max_num_seqs": 16 * 8}


@pytest.mark.parametrize(
    ("overrides", "shared"),
    [
        (["hardware=1gpu", "model=qwen3_0_6b"], True),
        (["hardware=1gpu", "model=qwen3_0_6b", "algorithm.max_lag=1"], False),
        (["hardware=1gpu", "model=qwen3_0_6b", "model.dtype=float16"], False),
        (["hardware=2gpu", "model=qwen3_0_6b"], False),
    ],
)
def test_an_engine_reads_the_trainers_memory_where_both_compute_in_turns(overrides, shared):
    rollout = tree_of(None, *overrides)["explorer"]["rollout_model"]
    assert rollout["extra_engine_args"].get("shared_weights", False) is shared


def test_a_critic_without_flash_attention_is_refused():
    asked = configured("hardware=2gpu", "model=tiny", "algorithm.name=ppo")
    with pytest.raises(ConfigError, match="its critic needs flash-attn"):
        resolve(asked, machine(None))
