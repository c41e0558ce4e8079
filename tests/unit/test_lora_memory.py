"""What an adapter takes of a GPU: estimated from the shape, not measured."""

from dataclasses import replace

import pytest

from rlagent.base.errors import ConfigError
from rlagent.config.resolve import resolve
from rlagent.machine.resources import GPU, Machine
from rlagent.planner.layout import Layout
from rlagent.planner.memory import GIB, host_gib, trainer_memory
from rlagent.planner.shape import adapter_parameters, parameters
from rlagent.planner.workload import Workload
from tests.configured import configured


def test_an_adapter_of_8b_fits_one_gpu_of_80_gib_where_the_whole_model_does_not() -> None:
    machine = Machine((GPU("NVIDIA H100 80GB HBM3", 79.6),), 16, 128)
    one = ("hardware=1gpu", "model=qwen3_8b")
    with pytest.raises(ConfigError):
        resolve(configured(*one, "hardware.offload=false"), machine)
    resolved = resolve(configured(*one, "model.lora.rank=16"), machine)
    assert str(resolved.layout) == "1x1*1"
    assert resolved.config.hardware.offload is False


def test_of_an_adapter_gradients_and_moments_alone_are_kept() -> None:
    shape = configured("model=qwen3_8b").model.shape
    layout, whole = Layout.parse("1x1+1"), Workload.usual(4096, 1024)
    work = replace(whole, adapter=adapter_parameters(shape, 16, ["all-linear"]))
    parts = trainer_memory(shape, layout, work).parts
    assert {"gradients", "optimizer", "summed gradients"}.isdisjoint(parts)
    assert parts["weights"] == pytest.approx(2 * parameters(shape) / GIB)
    assert parts["adapter"] < 1
    assert trainer_memory(shape, layout, work).gib < trainer_memory(shape, layout, whole).gib / 3
    # The reference is the base itself, also on the host.
    assert host_gib(shape, layout, work, False, 1) == 0


def test_the_parameters_of_an_adapter_are_those_of_its_matrices() -> None:
    shape = configured("model=tiny").model.shape
    # Of q_proj 128 -> 4 x 32 and v_proj 128 -> 2 x 32, in 4 blocks.
    assert adapter_parameters(shape, 8, ["q_proj", "v_proj"]) == 4 * 8 * (256 + 192)
    assert adapter_parameters(shape, 16, ["all-linear"]) == 2 * adapter_parameters(
        shape, 8, ["all-linear"]
    )
