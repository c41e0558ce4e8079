"""Sharing a machine's GPUs, cores and memory among trials."""

import dataclasses

from rlagent.backends.embedded.answers import RUN_GIB
from rlagent.config.resolve import resolve
from rlagent.machine.resources import GPU, PLANNED_FOR, Machine, detect, write_machine
from rlagent.sweep.shares import Ledger, Resources, Share, gpu_ids, need_of, never
from rlagent.sweep.source import Need
from tests.configured import configured

EIGHT = Resources(tuple("01234567"), 64, 512.0)


def test_gpus_are_given_to_one_trial_at_a_time_and_come_back() -> None:
    ledger = Ledger(EIGHT)
    assert ledger.take("a", Need(gpus=4)).gpus == ("0", "1", "2", "3")
    assert ledger.take("b", Need(gpus=3)).gpus == ("4", "5", "6")
    assert ledger.take("c", Need(gpus=2)) is None
    assert ledger.waits_for(Need(gpus=2)) == "2 GPUs (1 free)"
    ledger.give_back("a")
    assert ledger.take("c", Need(gpus=2)).gpus == ("0", "1")
    assert ledger.free_gpus == ("2", "3", "7")


def test_what_a_process_of_before_has_is_taken_whether_it_fits_or_not() -> None:
    ledger = Ledger(Resources(("4", "5"), 8, 10.0))
    ledger.take_these("old", ["5", "9"], Need(2, 6, 12.0))
    assert ledger.free_gpus == ("4",)
    assert ledger.waits_for(Need(0, 1, 1.0)) == "1.0 GiB of memory (0.0 free)"
    ledger.give_back("old")
    assert ledger.free_gpus == ("4", "5")


def test_as_many_cpu_trials_run_as_cores_and_memory_hold() -> None:
    ledger = Ledger(Resources((), 8, 10.0))
    need = Need(cores=2, memory_gib=4.0)
    assert ledger.take("a", need) == Share((), 2)
    assert ledger.take("b", need) == Share((), 2)
    assert ledger.waits_for(need) == "4.0 GiB of memory (1.0 free)"
    assert ledger.waits_for(Need(cores=6, memory_gib=0.5)) == "6 CPU cores (4 free)"


def test_one_trial_runs_even_where_cores_are_few() -> None:
    ledger = Ledger(Resources((), 1, 10.0))
    assert ledger.take("a", Need(cores=2, memory_gib=4.0)) == Share((), 1)
    assert ledger.take("b", Need(cores=2, memory_gib=4.0)) is None


def test_max_parallel_shares_the_cores_but_never_memory_or_gpus() -> None:
    ledger = Ledger(Resources((), 2, 10.0, most=3))
    need = Need(cores=2, memory_gib=4.0)
    assert ledger.take("a", need) == Share((), 1)
    assert ledger.take("b", need) == Share((), 1)
    assert ledger.take("c", need) is None
    assert ledger.take("c", Need(cores=2, memory_gib=0.5)) == Share((), 1)
    assert ledger.waits_for(need) == "one of 3 trials to end (sweep.max_parallel)"


def test_what_can_never_fit_differs_from_what_has_to_wait() -> None:
    assert never(Need(gpus=8), EIGHT) is None
    assert never(Need(gpus=9), EIGHT) == "needs 9 GPUs, there are 8"
    assert never(Need(gpus=1), Resources((), 2, 8.0)) == "needs 1 GPU, there are 0"
    assert never(Need(memory_gib=600.0), EIGHT) is None
    assert never(Need(cores=500), EIGHT) is None


def test_gpus_are_named_as_the_launcher_sees_them() -> None:
    assert gpu_ids(3, None) == ("0", "1", "2")
    assert gpu_ids(2, "6,7") == ("6", "7")
    assert gpu_ids(1, "GPU-1234") == ("GPU-1234",)
    assert gpu_ids(0, "") == ()


def needs(machine: Machine, *words: str) -> Need:
    resolved = resolve(configured(*words), machine)
    return need_of(resolved.config, resolved.layout)


def test_a_trial_needs_what_its_layout_says() -> None:
    h100s = Machine((GPU("H100", 80.0),) * 8, 64, 512.0)
    qwen = "model=qwen3_0_6b"
    assert needs(h100s, qwen, "hardware.layout=2x1+2").gpus == 4
    assert needs(h100s, qwen, "hardware.layout=1x1*1").gpus == 1
    assert needs(h100s, qwen).gpus == 8
    # What a large model's trainer keeps in host memory counts.
    assert needs(h100s, qwen, "hardware.layout=1x1+1").memory_gib == 32.0
    offloaded = needs(h100s, "model=qwen3_4b", "hardware.layout=1x1+1")
    assert 100 < offloaded.memory_gib < 110
    two_nodes = dataclasses.replace(h100s, cluster=True)
    assert needs(two_nodes, qwen, "hardware=2x8gpu").nodes == 2
    auxiliary = "workflow.auxiliary_models=[{name: judge, path: Qwen/Qwen3-8B}]"
    assert needs(h100s, qwen, "hardware.layout=1x1+1", auxiliary).gpus == 8
    cpu = Machine((), 8, 64.0)
    assert needs(cpu, "hardware=cpu") == Need(0, 2, RUN_GIB)
    assert needs(cpu, "hardware=cpu", "sweep.memory_gib=2").memory_gib == 2.0
    logical = needs(cpu, "hardware=cpu", "hardware.logical_gpus=4", "hardware.layout=2x1+2")
    assert logical.gpus == 4
    assert logical.memory_gib > RUN_GIB


def test_trinity_gets_the_gpus_of_the_layout_alone() -> None:
    from rlagent.trinity.parts import cluster

    h100s = Machine((GPU("H100", 80.0),) * 8, 64, 512.0)
    resolved = resolve(configured("model=qwen3_0_6b", "hardware.layout=1x1+1"), h100s)
    assert cluster(resolved) == {"node_num": 1, "gpu_per_node": 2}


def test_trials_on_gpus_share_the_cores_as_they_share_the_gpus() -> None:
    ledger = Ledger(EIGHT)
    assert ledger.take("a", Need(gpus=2, cores=0)).cores == 16
    assert ledger.take("b", Need(gpus=4, cores=0)).cores == 32


def test_a_trial_gets_the_machine_that_it_was_planned_for(monkeypatch) -> None:
    machine = Machine((GPU("H100", 80.0),) * 2, 16, 64.0)
    monkeypatch.setenv(PLANNED_FOR, write_machine(machine))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert detect() == machine
