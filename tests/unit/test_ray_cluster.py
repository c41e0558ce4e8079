"""What a Ray that is started for a run offers."""

from rlagent.layout.layout import Layout
from rlagent.trinity.ray_cluster import colocated_env, gpus_to_offer


def test_a_colocated_gpu_is_offered_to_engine_and_trainer(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
    layout = Layout(1, 1, 1, colocated=True)
    assert gpus_to_offer(layout, "vllm") == 2
    assert colocated_env(layout, "vllm") == {"CUDA_VISIBLE_DEVICES": "3,3"}


def test_other_layouts_are_offered_what_they_use():
    layout = Layout(4, 1, 4)
    assert gpus_to_offer(layout, "vllm") == 8
    assert colocated_env(layout, "vllm") == {}


def test_the_cpu_is_offered_no_gpu():
    layout = Layout(1, 1, 1)
    assert gpus_to_offer(layout, "embedded") == 0
    assert colocated_env(layout, "embedded") == {}
