"""Layouts: how they are written, which are legal and which is taken."""

import pytest

from rlagent.config.compose import compose
from rlagent.config.presets import model_preset
from rlagent.machine.resources import GPU, Machine, visible
from rlagent.planner.choose import best_layout, legal_layouts
from rlagent.planner.fit import parameters
from rlagent.planner.gpus import find_gpu
from rlagent.planner.layout import Layout, refusals

SHAPE_8B = model_preset("qwen3_8b").shape


@pytest.mark.parametrize("text", ["4x1+4s2", "1x1*1", "2x2+4", "1x1+1", "8x1+8s4"])
def test_a_layout_is_written_as_it_is_read(text: str) -> None:
    assert str(Layout.parse(text)) == text


@pytest.mark.parametrize("text", ["", "4", "4x1-4", "0x1*1", "0x1+0", "4x1+4s0", "axb+c"])
def test_what_is_no_layout_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="layout"):
        Layout.parse(text)


def test_layouts_pass_unquoted_through_a_sweep() -> None:
    from rlagent.sweep.grid import product

    assert product(["hardware.layout=4x1+4,2x2+4s2,1x1*1"]) == [
        ["hardware.layout=4x1+4"],
        ["hardware.layout=2x2+4s2"],
        ["hardware.layout=1x1*1"],
    ]
    assert compose(["hardware.layout=4x1+4s2"]).hardware.layout == "4x1+4s2"
    assert compose(["hardware.layout=1x1*1"]).hardware.layout == "1x1*1"


def test_gpus_add_up_and_shared_ones_count_once() -> None:
    assert Layout.parse("2x2+4").total_gpus == 8
    assert Layout.parse("1x1*1").total_gpus == 1
    assert Layout.parse("4x1+4s2").data_parallel == 2


def test_a_layout_is_said_in_words() -> None:
    words = Layout.parse("4x1+4s2").words()
    assert words == (
        "4 rollout engines on 1 GPU each, trainer on 4 GPUs (each sequence shared by 2)"
    )
    assert Layout.parse("1x1*1").words() == "1 rollout engine and the trainer share 1 GPU"
    assert Layout(1, 1, 1).words("process") == (
        "1 rollout engine on 1 process, trainer on 1 process"
    )


@pytest.mark.parametrize(
    ("text", "gpus", "nodes", "reason"),
    [
        ("4x1+4", 4, 1, "needs 8 GPUs, more than the 4 planned for"),
        ("1x3+5", 8, 1, "engines of 3 GPUs do not divide a node of 8"),
        ("1x8+8", 4, 4, "must lie within one node"),
        ("4x1+4s3", 8, 1, "sequence parallel 3 does not divide 4 trainer GPUs"),
        ("4x1+12", 8, 2, "must be whole nodes"),
        ("2x1*2", 4, 1, "one engine and the trainer on one GPU"),
        ("1x1*1", 1, 2, "needs a single node"),
    ],
)
def test_an_illegal_layout_says_why(text: str, gpus: int, nodes: int, reason: str) -> None:
    assert any(reason in line for line in refusals(Layout.parse(text), gpus, nodes))


def test_heads_must_divide_among_gpus() -> None:
    shape = model_preset("smollm2_135m").shape
    (line,) = refusals(Layout.parse("1x2+2"), 4, 1, shape)
    assert "does not divide the model's 9 heads" in line


def test_parameters_follow_from_the_shape() -> None:
    published = {"qwen3_0_6b": 0.6, "qwen3_1_7b": 1.7, "qwen3_4b": 4.0, "qwen3_8b": 8.2}
    for name, billions in published.items():
        assert parameters(model_preset(name).shape) / 1e9 == pytest.approx(billions, abs=0.05)
    assert parameters(model_preset("smollm2_135m").shape) / 1e6 == pytest.approx(134.5, abs=0.5)


def test_every_legal_layout_uses_all_gpus() -> None:
    found = legal_layouts(8, 1, SHAPE_8B)
    assert Layout.parse("4x1+4s2") in found
    assert all(layout.total_gpus == 8 for layout in found)
    assert all(not refusals(layout, 8, 1, SHAPE_8B) for layout in found)


def test_the_8b_model_on_eight_gpus_gets_the_layout_of_agentscopes_example() -> None:
    assert str(best_layout(8, 1, SHAPE_8B, 80, 24576)) == "4x1+4s2"


def test_one_gpu_is_shared() -> None:
    shape = model_preset("qwen3_0_6b").shape
    assert str(best_layout(1, 1, shape, 80, 8192)) == "1x1*1"


def test_nothing_fits_a_gpu_that_is_too_small() -> None:
    assert best_layout(2, 1, SHAPE_8B, 8, 24576, (False, True)) is None


def test_two_nodes_give_the_trainer_whole_nodes() -> None:
    layout = best_layout(8, 2, SHAPE_8B, 80, 24576)
    assert layout is not None
    assert layout.trainer_gpus == 8


def test_the_memory_of_a_gpu_is_read_from_its_name_or_from_the_machine() -> None:
    machine = Machine((GPU("NVIDIA L40S", 45.0),), 8, 64)
    for name, gib in (("h100-80g", 79.6), ("H200-141GB", 140.4), ("NVIDIA L40S", 45.0)):
        assert find_gpu(name, machine).kind.memory_gib == gib


def test_hidden_gpus_are_not_counted() -> None:
    found = [("GPU-a", GPU("one", 80)), ("GPU-b", GPU("two", 80))]
    assert visible(found, None) == (found[0][1], found[1][1])
    assert visible(found, "") == ()
    assert visible(found, "1") == (found[1][1],)
    assert visible(found, "GPU-b,0") == (found[1][1], found[0][1])
    assert visible(found, "0,0") == (found[0][1],)
    assert visible(found, "0,7,1") == (found[0][1],)


def test_engines_alone_are_written_without_a_trainer():
    layout = Layout.parse("4x2")
    assert (layout.rollout_gpus, layout.trainer_gpus, layout.total_gpus) == (8, 0, 8)
    assert str(layout) == "4x2"
    assert layout.words() == "4 rollout engines on 2 GPUs each (tensor parallel)"
