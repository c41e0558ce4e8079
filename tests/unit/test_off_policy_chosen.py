"""Which policy the loss corrects for is chosen, and what would be wrong refused, before a run."""

from typing import Any

import pytest

from rlagent.base.errors import ConfigError
from rlagent.config.resolve import Resolved, resolve
from rlagent.machine.resources import GPU, Machine
from rlagent.trinity.translate import to_trinity
from tests.configured import configured

CPU = (Machine((), 2, 24), "hardware=cpu")
GPUS = (Machine((GPU("NVIDIA H100 80GB HBM3", 80),) * 4, 64, 1024), "hardware=4gpu")
LAG = "algorithm.max_lag=1"
BYPASS = "algorithm.recompute_old_logprobs=false"


def resolved(*overrides: str, machine: Any = CPU) -> Resolved:
    return resolve(configured(machine[1], *overrides), machine[0])


def correction(*overrides: str, machine: Any = CPU) -> Any:
    tree = to_trinity(resolved(*overrides, machine=machine), "/runs/run-1")
    return tree["algorithm"].get("rollout_correction")


def refusal(*overrides: str, machine: Any = CPU) -> str:
    with pytest.raises(ConfigError) as caught:
        resolved(*overrides, machine=machine)
    (problem,) = caught.value.problems
    return str(problem)


@pytest.mark.parametrize("machine", [CPU, GPUS], ids=["cpu", "gpus"])
@pytest.mark.parametrize("rhythm", [LAG, "algorithm.sync_interval=2"])
def test_samples_of_older_weights_are_weighted_unless_set_otherwise(rhythm, machine) -> None:
    expected = {"rollout_is": "token", "rollout_is_threshold": 2.0}
    assert correction(rhythm, machine=machine) == expected


def test_samples_of_the_weights_at_hand_are_not_weighted() -> None:
    assert correction() is None
    assert resolved().config.algorithm.off_policy == "none"


@pytest.mark.parametrize(
    ("overrides", "level", "threshold"),
    [
        (["off_policy=tis", "off_policy_max=3"], "token", 3.0),
        (["off_policy=mis"], "token", "1e-09_2"),
        (["off_policy=mis", "off_policy_max=5", "off_policy_min=0.5"], "token", "0.5_5"),
        (["off_policy=seq_tis"], "sequence", 2.0),
        (["off_policy=seq_mis", "off_policy_min=0.25"], "sequence", "0.25_2"),
    ],
)
def test_what_is_asked_for_is_said_in_the_words_of_verl(overrides, level, threshold) -> None:
    found = correction(*(f"algorithm.{each}" for each in overrides))
    assert found == {"rollout_is": level, "rollout_is_threshold": threshold}


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        ([], ["old is the proximal policy", "in the update itself", "the engine recorded;"]),
        ([LAG], ["up to 1 step older", "each token counts by", "at most 2 (tis)"]),
        (["algorithm.sync_interval=3", LAG], ["up to 3 steps older"]),
        (["algorithm.off_policy=seq_mis"], ["each experience", "masked outside 0 to 2"]),
        ([BYPASS], ["old is the behaviour policy", "the loss's ratio is to it"]),
        (["algorithm.updates_per_step=4"], ["in a pass before the updates"]),
        (["algorithm.name=rloo"], ["in a pass before the updates"]),
        (
            [LAG, "algorithm.off_policy=none", "algorithm.allow_uncorrected_lag=true"],
            ["nothing corrects for that"],
        ),
    ],
)
def test_the_choices_say_which_policy_is_which_and_who_computes_what(overrides, parts) -> None:
    (line,) = [one for one in resolved(*overrides).choices if one.startswith("policies: ")]
    assert [part for part in parts if part not in line] == []


def test_uncorrected_lag_is_refused_unless_a_key_says_so() -> None:
    uncorrected = (LAG, "algorithm.off_policy=none")
    assert "algorithm.allow_uncorrected_lag=true" in refusal(*uncorrected)
    assert "would be trained on as if" in refusal("algorithm.sync_interval=2", uncorrected[1])
    assert correction(*uncorrected, "algorithm.allow_uncorrected_lag=true") is None


def test_a_ratio_to_the_behaviour_policy_is_not_counted_twice() -> None:
    assert correction(LAG, BYPASS) is None
    assert correction(LAG, BYPASS, "algorithm.off_policy=none") is None
    assert "count it twice" in refusal(LAG, BYPASS, "algorithm.off_policy=tis")


@pytest.mark.parametrize(
    "setting", ["model.top_p=0.9", "model.top_k=20", "model.tool_choice=as_asked"]
)
def test_what_is_sampled_from_a_part_is_weighted_where_the_trainer_knows_the_part(setting) -> None:
    assert correction(LAG, setting) is not None
    assert correction(setting, machine=GPUS) is None
    reason = refusal(LAG, setting, machine=GPUS)
    assert setting in reason
    assert "their ratio would be wrong" in reason


@pytest.mark.parametrize("name", ["raft", "rec"])
def test_a_loss_that_cannot_be_weighted_is_refused_with_lag(name) -> None:
    assert correction(f"algorithm.name={name}") is None
    assert "cannot be weighted" in refusal(f"algorithm.name={name}", LAG)
    assert correction(f"algorithm.name={name}", LAG, BYPASS) is None


def test_a_bound_without_effect_is_refused() -> None:
    assert "nothing is masked" in refusal(LAG, "algorithm.off_policy_min=0.5")


def test_trinitys_word_for_the_old_policy_is_not_laid_over_ours() -> None:
    bypass = "trinity.algorithm.bypass_old_logprobs"
    assert "recompute_old_logprobs=false instead" in refusal(LAG, f"{bypass}=true")
    assert correction(LAG, f"{bypass}=false") is not None
    assert correction(LAG, BYPASS, f"{bypass}=true") is None


def test_where_nothing_is_trained_no_weights_are_wrong() -> None:
    machine, hardware = GPUS
    found = resolve(configured(hardware, LAG, "model.top_k=20"), machine, measures=True)
    assert found.config.algorithm.off_policy == "tis"
