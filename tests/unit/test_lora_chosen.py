"""`model.lora`: what switches it on, what it becomes for either trainer, and what is refused."""

from dataclasses import replace
from typing import Any

import pytest

from rlagent.base.errors import ConfigError
from rlagent.config.check import check
from rlagent.config.identity import trial_id
from rlagent.config.resolve import resolve
from rlagent.machine.resources import GPU, Machine
from rlagent.trinity.translate import to_trinity
from tests.configured import configured

CPU = ("hardware=cpu",)
GPUS = ("hardware=2gpu", "model=qwen3_0_6b")
RANK = "model.lora.rank=16"
MACHINE = Machine((GPU("NVIDIA H100 80GB HBM3", 80),) * 2, 64, 1024)


def tree(*overrides: str) -> dict[str, Any]:
    return to_trinity(resolve(configured(*overrides), MACHINE), "/runs/run-1")


def refused(*overrides: str) -> list[tuple[str, str]]:
    config = configured(*overrides)
    problems = check(config)
    if not problems:
        try:
            resolve(config, MACHINE)
        except ConfigError as error:
            problems = error.problems
    return [(problem.key, problem.message) for problem in problems]


def test_nobody_who_says_nothing_trains_an_adapter() -> None:
    for machine in (CPU, GPUS):
        found = tree(*machine)
        assert "lora" not in found["trainer"].get("trainer_config", {})
        assert "lora_configs" not in found["model"]


def test_a_rank_has_the_embedded_trainer_train_an_adapter() -> None:
    found = tree(*CPU, RANK, "model.lora.target_modules=[q_proj,v_proj]", "model.lora.dropout=0.1")
    assert found["trainer"]["trainer_config"]["lora"] == {
        "rank": 16,
        "alpha": 32,
        "dropout": 0.1,
        "target_modules": ["q_proj", "v_proj"],
    }
    assert found["synchronizer"]["sync_method"] == "memory"


def test_on_gpus_it_goes_through_trinitys_adapter_without_a_random_one() -> None:
    found = tree(*GPUS, RANK, "model.lora.target_modules=[q_proj,v_proj]")
    (one,) = found["model"]["lora_configs"]
    assert (one["lora_rank"], one["lora_alpha"]) == (16, 32)
    assert one["target_modules"] == r".*\.(q_proj|v_proj)"
    # Trinity would build a whole model for one.
    assert one["path"] is not None
    assert one["is_dummy"]
    assert found["synchronizer"]["sync_method"] == "checkpoint"
    assert found["trainer"]["save_hf_checkpoint"] == "never"
    actor = found["trainer"]["trainer_config"]["actor"]
    assert actor["fsdp_config"]["model_dtype"] == "bf16"


def test_every_linear_layer_is_peft_s_own_word() -> None:
    assert tree(*GPUS, RANK)["model"]["lora_configs"][0]["target_modules"] == "all-linear"


def test_the_rate_is_the_recipe_s_for_an_adapter_or_ten_times_that_of_the_model() -> None:
    def rate(*overrides: str) -> float:
        return float(tree(*overrides)["algorithm"]["optimizer"]["lr"])

    assert rate(*GPUS) == 1e-6
    assert rate(*GPUS, RANK) == 1e-5
    assert rate(*GPUS, RANK, "model.recipe.lora_lr=3e-5") == 3e-5
    assert rate(*GPUS, RANK, "algorithm.lr=2e-6") == 2e-6


def test_another_rank_is_another_trial_and_no_adapter_the_trial_of_before() -> None:
    plain, other = configured(*CPU), configured(*CPU, RANK)
    assert trial_id(plain) != trial_id(other)
    assert trial_id(other) != trial_id(configured(*CPU, "model.lora.rank=8"))
    assert trial_id(plain) == trial_id(configured(*CPU, "model.recipe.lora_lr=1e-3"))


@pytest.mark.parametrize("rank", ["0", "-1"])
def test_a_rank_below_one_is_refused(rank: str) -> None:
    ((key, message),) = refused(*CPU, f"model.lora.rank={rank}")
    assert key == "model.lora.rank"
    assert "at least 1" in message


@pytest.mark.parametrize(
    "written", ["alpha=8", "dropout=0.1", "target_modules=[q_proj]"], ids=lambda each: each[:5]
)
def test_a_setting_of_an_adapter_that_nothing_trains_is_refused(written: str) -> None:
    ((key, message),) = refused(*CPU, f"model.lora.{written}")
    assert key == f"model.lora.{written.partition('=')[0]}"
    assert "model.lora.rank is null" in message


def test_modules_that_the_model_lacks_are_named_with_those_that_it_has() -> None:
    ((key, message),) = refused(*CPU, RANK, "model.lora.target_modules=[q_proj,c_attn]")
    assert key == "model.lora.target_modules"
    assert "down_proj, gate_proj, k_proj" in message


@pytest.mark.parametrize("modules", ["[]", "[all-linear,q_proj]"])
def test_no_modules_and_every_module_beside_others_are_refused(modules: str) -> None:
    assert [key for key, _ in refused(*CPU, RANK, f"model.lora.target_modules={modules}")] == [
        "model.lora.target_modules"
    ]


def test_what_verl_cannot_do_with_an_adapter_is_refused_together() -> None:
    found = refused(*GPUS, RANK, "model.lora.dropout=0.1", "hardware.offload=true")
    assert [key for key, _ in found] == ["model.lora.dropout", "hardware.offload"]


def test_trinity_s_own_setting_is_refused_beside_ours() -> None:
    ((key, message),) = refused(*GPUS, "trinity.model.lora_configs=[{lora_rank: 8}]")
    assert key.startswith("trinity.model.lora_configs")
    assert "model.lora" in message


def test_the_choices_say_what_is_trained_and_how_large_it_is() -> None:
    said = resolve(configured(*GPUS, RANK), MACHINE).choices
    (line,) = [line for line in said if line.startswith("trained:")]
    assert "an adapter of rank 16 in all-linear, 10.1 M parameters" in line
    assert not [each for each in resolve(configured(*GPUS), MACHINE).choices if "adapter" in each]


def test_what_only_measures_loads_no_adapter() -> None:
    resolved = resolve(configured(*GPUS, RANK), MACHINE)
    measured = replace(resolved, layout=replace(resolved.layout, trainer_gpus=0))
    assert "lora_configs" not in to_trinity(measured, "/runs/run-1")["model"]
