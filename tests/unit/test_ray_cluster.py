"""What a Ray that is started for a run offers, and what one that is joined adds."""

import pytest

from rlagent import plan
from rlagent.config import cluster
from rlagent.config.machine import GPU, TOLD, Machine, detect, write_machine
from rlagent.config.schema import HardwareConfig
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


def test_the_nodes_of_a_cluster_are_asked_for_by_the_sweep_and_not_again_by_its_trials(monkeypatch):
    asked = []
    monkeypatch.setattr(cluster, "_ask", lambda address: asked.append(address) or [8, 0, 8])
    machine = Machine((GPU("NVIDIA H100 80GB HBM3", 80.0),) * 8, 64, 500.0)
    joined = cluster.with_cluster(machine, HardwareConfig(ray="head:6379"))
    assert (joined.nodes, joined.cluster, asked) == (2, True, ["head:6379"])
    monkeypatch.setenv(TOLD, write_machine(joined))
    assert cluster.with_cluster(detect(), HardwareConfig(ray="head:6379")) == joined
    assert len(asked) == 1


@pytest.mark.parametrize("arguments", [[], ["-m", "seed=1"]])
def test_what_is_planned_counts_the_nodes_that_a_run_would(monkeypatch, capsys, arguments):
    machine = Machine((GPU("NVIDIA H100 80GB HBM3", 80.0),) * 8, 64, 500.0)
    monkeypatch.setattr(plan, "detect", lambda: machine)
    monkeypatch.setattr(cluster, "_ask", lambda address: [8, 8])
    given = ["+experiment=gsm8k_react", "hardware.ray=head:6379", "hardware.gpus=8"]
    assert plan.main([*given, *arguments]) == 0
    assert "8 rollout engines on 1 GPU each, trainer on 8 GPUs" in capsys.readouterr().out
