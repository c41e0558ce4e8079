"""Patches of Trinity, verl and Ray have an effect (tests/unit has what they rely on)."""

import subprocess
import sys
from types import SimpleNamespace

import torch

from rlagent.upstream import ray as ray_patches
from rlagent.upstream import trinity, trinity_imports, verl

trinity_imports.without_vllm.apply()


def printed(code: str) -> list[str]:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_agents_and_queue_write_experiences_with_the_fast_writer():
    code = """
import torch
import rlagent.trinity.buffer
from trinity.common import experience
from rlagent.upstream import trinity
first = experience.st_save is trinity.save
experience.st_save = None
import rlagent.trinity.rollout
exp = experience.Experience(tokens=torch.arange(3), prompt_length=1, logprobs=torch.zeros(2))
back = experience.Experience.deserialize_many(experience.Experience.serialize_many([exp]))
print(first, experience.st_save is trinity.save, back[0].tokens.tolist())
"""
    assert printed(code)[-1] == "True True [0, 1, 2]"


def test_validators_know_the_version_of_verl_without_importing_it():
    code = """
import sys
from rlagent.upstream import trinity_imports
trinity_imports.without_vllm.apply()
import trinity.trainer
from trinity.trainer import trainer
theirs = trainer.is_verl_legacy
with trinity_imports.version_of_verl_from_its_metadata.apply():
    print(trainer.is_verl_legacy(), "verl" in sys.modules)
assert trainer.is_verl_legacy is theirs
"""
    assert printed(code)[-1] == "False False"


def test_a_configuration_is_checked_without_the_validators_that_are_named():
    from trinity.common import config_validator

    theirs = config_validator.validators
    with trinity.validators_without.apply("TrainerConfigValidator"):
        kinds = [type(each).__name__ for each in config_validator.validators]
    assert len(kinds) == len(theirs) - 1
    assert "TrainerConfigValidator" not in kinds
    assert config_validator.validators is theirs


def test_an_explorer_makes_no_synchronizer_where_nothing_is_trained():
    from trinity.explorer import explorer

    theirs = explorer.Synchronizer
    with trinity.synchronizer.apply(made=False):
        assert explorer.Synchronizer.get_actor("config") is None
    with trinity.synchronizer.apply(made=True):
        assert explorer.Synchronizer is theirs
    assert explorer.Synchronizer is theirs


def test_a_trainer_gets_the_engine_that_it_is_given_and_trinitys_own_else():
    from trinity.trainer import trainer

    class Engine:
        pass

    theirs = trainer.get_trainer_wrapper
    with trinity.train_engine.apply(Engine):
        assert trainer.get_trainer_wrapper is Engine
    with trinity.train_engine.apply(None):
        assert trainer.get_trainer_wrapper is theirs
    assert trainer.get_trainer_wrapper is theirs


def test_a_monitor_and_a_reader_stand_in_for_trinitys(monkeypatch):
    from trinity.buffer.reader import READER
    from trinity.utils.monitor import MONITOR

    for registry in (READER, MONITOR):
        monkeypatch.setattr(registry, "_modules", dict(registry._modules))

    class Ours:
        pass

    trinity.monitor.apply("tensorboard", Ours)
    trinity.queue_reader.apply(Ours)
    assert MONITOR.get("tensorboard") is Ours
    assert READER.get("queue") is Ours


def test_verl_computes_with_the_functions_that_it_is_given(monkeypatch):
    from verl.utils import torch_functional
    from verl.workers.engine.fsdp import transformer_impl

    monkeypatch.setattr(
        transformer_impl, "logprobs_from_logits", transformer_impl.logprobs_from_logits
    )
    monkeypatch.setattr(
        torch_functional, "entropy_from_logits", torch_functional.entropy_from_logits
    )
    verl.log_probabilities.apply(lambda logits, labels, **_: logits + labels)
    verl.entropies.apply(lambda logits: logits * 2)
    engine = SimpleNamespace(compute_entropy_from_logits=None)
    verl.entropies_of_engine.apply(engine, torch_functional.entropy_from_logits)
    one = torch.ones(1)
    assert transformer_impl.logprobs_from_logits(one, labels=one).item() == 2
    assert engine.compute_entropy_from_logits(one * 3).item() == 6


def test_verl_pads_with_torch(monkeypatch):
    from verl.utils import attention_utils

    monkeypatch.setattr(
        attention_utils, "_get_attention_functions", attention_utils._get_attention_functions
    )
    verl.torch_padding.apply()
    values = torch.arange(6.0).reshape(2, 3, 1)
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    packed, indices, starts, longest, _ = attention_utils.unpad_input(values, mask)
    assert packed.flatten().tolist() == [0, 1, 3]
    assert (starts.tolist(), longest) == ([0, 2, 3], 2)
    padded = attention_utils.pad_input(packed, indices, 2, 3)
    assert padded.flatten().tolist() == [0, 1, 0, 3, 0, 0]


def test_ray_takes_loopback_for_the_address_of_this_node(monkeypatch):
    from ray._private import ray_constants, services, worker

    monkeypatch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", True)
    monkeypatch.setattr(worker, "_global_node", None)
    monkeypatch.setenv(ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, "1")
    ray_patches.stay_on_loopback.apply()
    assert services.get_node_ip_address() == "127.0.0.1"
