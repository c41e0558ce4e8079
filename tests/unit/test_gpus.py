"""Kinds of GPUs: which one a name means, and what is assumed where it is not known."""

import pytest

from rlagent.base.errors import ConfigError
from rlagent.config.compose import compose
from rlagent.config.resolve import resolve
from rlagent.machine.resources import GPU, Machine
from rlagent.planner.gpus import KINDS, find_gpu, named_size

LAPTOP = Machine((), 4, 16)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("h100-80g", "h100-80g"),
        ("H200-141GB", "h200-141g"),
        ("h200", "h200-141g"),
        ("NVIDIA H100 80GB HBM3", "h100-80g"),
        ("NVIDIA H20", "h20-96g"),
        ("H20-96GB", "h20-96g"),
        ("NVIDIA A100-SXM4-40GB", "a100-40g"),
        ("NVIDIA A100 80GB PCIe", "a100-80g"),
        ("NVIDIA GeForce RTX 4090", "rtx4090-24g"),
        ("rtx4090", "rtx4090-24g"),
        ("NVIDIA L40S", "l40s-48g"),
        ("NVIDIA A10G", "a10g-24g"),
        ("b200", "b200-192g"),
    ],
)
def test_a_gpu_is_known_by_its_name_here_and_by_nvmls(text: str, name: str) -> None:
    found = find_gpu(text, LAPTOP)
    assert found.kind.name == name
    assert not found.assumed


def test_memory_is_what_the_driver_reports_which_is_less_than_the_name_says() -> None:
    for name, kind in KINDS.items():
        size = named_size(name)
        assert size is not None
        assert 0.9 * size < kind.memory_gib <= size


def test_without_a_gpu_an_h100_is_assumed_and_said() -> None:
    found = find_gpu("auto", LAPTOP)
    assert found.kind.name == "h100-80g"
    assert "h100-80g is assumed" in found.assumed


def test_of_a_gpu_that_is_here_its_own_memory_counts() -> None:
    machine = Machine((GPU("NVIDIA H200", 139.8), GPU("NVIDIA H200", 139.7)), 8, 64)
    found = find_gpu("auto", machine)
    assert found.kind.name == "h200-141g"
    assert found.kind.memory_gib == 139.7
    assert not found.assumed


def test_a_gpu_that_is_here_is_never_refused() -> None:
    machine = Machine((GPU("Some New Card", 64.0),), 8, 64)
    for text in ("auto", "Some New Card"):
        found = find_gpu(text, machine)
        assert found.kind.memory_gib == 64
        assert "speed of h100-80g is assumed" in found.assumed


@pytest.mark.parametrize(
    ("text", "size"), [("mygpu-80g", 80), ("h100-94g", 94), ("H20-141GB", 141)]
)
def test_another_size_is_taken_and_what_is_assumed_is_said(text: str, size: float) -> None:
    found = find_gpu(text, LAPTOP)
    assert found.kind.memory_gib == size
    assert found.kind.name in (text, text.lower())
    assert "speed" in found.assumed


@pytest.mark.parametrize(
    ("text", "remedy"),
    [("nonsense", "mygpu-80g"), ("h10-80", "h100-80g"), ("a100", "a100-80g or a100-40g")],
)
def test_an_unknown_gpu_is_refused_with_the_nearest(text: str, remedy: str) -> None:
    asked = ["hardware=8gpu", "model=qwen3_8b", f"hardware.gpu={text}"]
    with pytest.raises(ConfigError) as caught:
        resolve(compose(asked), LAPTOP, plan_only=True)
    (problem,) = caught.value.problems
    assert problem.key == "hardware.gpu"
    assert remedy in str(problem)


def test_a_plan_without_a_gpu_says_which_one_it_assumes() -> None:
    resolved = resolve(compose(["hardware=8gpu", "model=qwen3_8b"]), LAPTOP, plan_only=True)
    assert any("h100-80g is assumed" in line for line in resolved.choices)
    assert resolved.config.hardware.gpu == "h100-80g"


def test_a_run_without_gpus_may_name_one_but_no_nonsense() -> None:
    assert resolve(compose(["hardware.gpu=h200"]), LAPTOP).config.hardware.gpu == "h200"
    with pytest.raises(ConfigError, match="nonsense"):
        resolve(compose(["hardware.gpu=nonsense"]), LAPTOP)
