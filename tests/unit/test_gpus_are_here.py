"""A layout of GPUs that are not here is refused before Ray is started, with what to do."""

import subprocess
import sys
from dataclasses import replace

import pytest

from rlagent.base.errors import ConfigError
from rlagent.config.compose import compose
from rlagent.config.resolve import Resolved, resolve
from rlagent.machine.ray_head import cluster_is_running
from rlagent.machine.resources import GPU, Machine

LAPTOP = Machine((), 4, 16)
TWO = Machine((GPU("NVIDIA H100 80GB HBM3", 79.6),) * 2, 64, 1024)


def resolved(*overrides: str, machine: Machine) -> Resolved:
    config = compose(["+experiment=gsm8k_react", "model=qwen3_0_6b", *overrides])
    return resolve(config, machine)


def refusal(*overrides: str, machine: Machine) -> str:
    with pytest.raises(ConfigError) as caught:
        resolved(*overrides, machine=machine)
    (problem,) = caught.value.problems
    return str(problem)


@pytest.mark.parametrize("ray", ["auto", "start"])
def test_more_gpus_than_there_are_need_a_cluster(ray: str) -> None:
    for machine, words in ((LAPTOP, "no GPUs"), (TWO, "2 GPUs")):
        line = refusal("hardware=8gpu", f"hardware.ray={ray}", machine=machine)
        assert f"this machine has {words}" in line
        assert "rlagent plan" in line


def test_several_nodes_need_a_cluster_and_the_remedy_says_how() -> None:
    line = refusal("hardware=2x8gpu", machine=LAPTOP)
    assert line.startswith("hardware.nodes=2: no Ray cluster is running here")
    assert "ray start --head" in line


def test_a_clusters_gpus_are_not_looked_for_on_this_machine() -> None:
    there = replace(LAPTOP, cluster=True)
    assert resolved("hardware=2x8gpu", machine=there).layout.total_gpus == 16
    asked = ["hardware=8gpu", "hardware.ray=10.0.0.1:6379"]
    assert resolved(*asked, machine=LAPTOP).layout.total_gpus == 8


def test_with_ray_to_be_started_here_a_running_cluster_does_not_count() -> None:
    line = refusal("hardware=8gpu", "hardware.ray=start", machine=replace(LAPTOP, cluster=True))
    assert "this machine has no GPUs" in line


def test_an_address_in_the_environment_is_a_cluster(
    monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert not cluster_is_running()
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert cluster_is_running()


def test_the_command_ends_with_2_and_imports_no_ray(tmp_path) -> None:
    code = (
        "import sys\n"
        "from rlagent.train import main\n"
        "try:\n"
        "    status = main(['+experiment=gsm8k_react', 'hardware=8gpu'])\n"
        "except SystemExit as error:\n"
        "    status = error.code\n"
        "assert 'ray' not in sys.modules\n"
        "sys.exit(status)\n"
    )
    environment = {"PATH": "", "RAY_TMPDIR": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "this machine has no GPUs" in done.stdout + done.stderr
