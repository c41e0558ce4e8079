"""What a run is configured with for its environments."""

import pytest

from rlagent.config.check import check
from rlagent.config.resolve import resolve
from rlagent.environments.frozen_lake import around, draw
from rlagent.environments.gym import Gymnasium
from rlagent.machine.resources import Machine
from rlagent.trinity.native import slots
from rlagent.workflows.frozen_lake import lake_of
from tests.configured import configured


@pytest.mark.parametrize(
    ("overrides", "most"),
    [
        ((), None),
        (("workflow.concurrency=3",), 3),
        (("workflow.concurrency=3", "trinity.explorer.runner_per_model=2"), 2),
        (("workflow.concurrency=3", "trinity.explorer.runner_per_model=9"), 3),
    ],
)
def test_so_many_rollouts_run_side_by_side_as_are_asked_for(overrides, most):
    config = configured("hardware=cpu", *overrides)
    assert slots(resolve(config, Machine((), 2, 24))) == most


def test_a_package_that_a_workflow_needs_and_lacks_is_named_before_anything_starts():
    config = configured("workflow.packages=[yaml, no_such_world, no_such.part]")
    (problem,) = [p for p in check(config) if p.key == "workflow.packages"]
    assert "not installed: no_such_world, no_such.part" in str(problem)
    assert "pip install 'rlagent[experiments]'" in str(problem)


def test_gymnasium_is_acted_in_by_the_names_of_actions():
    lake = Gymnasium("FrozenLake-v1", ["left", "down", "right", "up"], is_slippery=False)
    assert lake.reset(seed=1).observation == 0
    step = lake.step("down")
    assert (step.observation, step.reward, step.done) == (4, 0.0, False)
    with pytest.raises(ValueError, match="'north' is none of left, down, right, up"):
        lake.step("north")
    lake.close()


def test_an_episode_that_gymnasium_cuts_off_is_over():
    pole = Gymnasium("CartPole-v1", max_episode_steps=2)
    pole.reset(seed=1)
    assert not pole.step(0).done
    step = pole.step(1)
    assert step.done
    assert step.info["truncated"]


def test_maps_are_drawn_by_their_seed_or_given():
    assert lake_of({"seed": 3}) == lake_of({"seed": 3, "size": 4, "ice": 0.8}) == draw(3)
    assert len(lake_of({"seed": 3, "size": 5})) == 5
    assert lake_of({"seed": 3, "map": "SF\nHG"}) == ["SF", "HG"]
    with pytest.raises(ValueError, match=r"size=1 and ice=0.8 cannot be drawn: size is from 2"):
        lake_of({"seed": 3, "size": 1})
    with pytest.raises(ValueError, match=r"size=4 and ice=0 cannot be drawn: .* ice from 0.6 to 1"):
        lake_of({"seed": 3, "ice": 0})
    assert around(["SF", "HG"], 0, 1) == "left ice, down goal, right edge, up edge"
