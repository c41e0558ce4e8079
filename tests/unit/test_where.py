"""Where the time goes: shares from metrics of a step."""

import pytest
from configured import configured

from rlagent.config.resolve import resolve
from rlagent.launch import where
from rlagent.machine.resources import GPU, Machine
from rlagent.planner.fit import parameters

MACHINE = Machine((GPU("NVIDIA H200", 141.0),) * 2, 16, 128)
ON_GPUS = resolve(configured("hardware=2gpu", "model=tiny"), MACHINE)
ON_CPU = resolve(configured("hardware=cpu"), MACHINE)
EXPLORED = {
    "time/explore_step": 8.0,
    "time/explorer_sync": 2.0,
    "rollout/model_seconds/mean": 3.0,
    "rollout/agent_seconds/mean": 1.0,
    "rollout/response_tokens/mean": 100.0,
    "rollout/rollouts": 128.0,
}


def test_the_seconds_of_a_step_are_split_as_its_rollouts_spent_theirs():
    found = where.rollout_shares(EXPLORED, ON_CPU)
    assert found == {"time/rollout": 6.0, "time/agent": 2.0, "idle/rollout": pytest.approx(0.2)}


def test_on_known_gpus_the_achieved_share_of_the_peak_is_added():
    size = parameters(ON_GPUS.config.model.shape)
    found = where.rollout_shares(EXPLORED, ON_GPUS)
    assert found["perf/mfu/rollout"] == pytest.approx(2 * size * 12800 / 8 / 989e12)
    trained = {"time/train_step": 2.0, "time/trainer_step": 8.0, "tokens/trained": 1e6}
    found = where.trainer_shares(trained, ON_GPUS)
    assert found == {
        "idle/trainer": 0.75,
        "perf/mfu/trainer": pytest.approx(6 * size * 1e6 / 2 / 989e12),
    }
    assert where.trainer_shares(trained, ON_CPU) == {"idle/trainer": 0.75}


@pytest.mark.parametrize(
    ("name", "gib", "flops"),
    [
        ("NVIDIA H20", 95.5, 148e12),
        ("NVIDIA L40S", 45.0, 362e12),
        ("NVIDIA B200", 179.0, 2250e12),
        ("Some New Card", 64.0, None),
        ("NVIDIA H100 NVL", 93.6, None),
    ],
)
def test_the_peak_is_that_of_the_planners_table_and_none_where_it_would_be_assumed(
    name, gib, flops
):
    machine = Machine((GPU(name, gib),) * 2, 16, 128)
    assert where.peak_flops(resolve(configured("hardware=2gpu", "model=tiny"), machine)) == flops


def test_what_is_here_counts_whatever_was_named_to_plan_for():
    asked = configured("hardware=2gpu", "model=tiny", "hardware.gpu=a100-80g")
    assert where.peak_flops(resolve(asked, MACHINE)) == 989e12


def test_rows_that_are_no_step_have_no_shares():
    assert where.rollout_shares({"eval/success": 0.5}, ON_GPUS) == {}
    assert where.trainer_shares({"time/step": 1.0}, ON_GPUS) == {}
