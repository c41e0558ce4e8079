"""Checkpoints of the embedded trainer: exact, whole or absent, and readable by others."""

import asyncio
import os
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import ray
import torch
from safetensors.torch import load_file
from trainer_fixtures import (
    largest_difference,
    make_config,
    make_experiences,
    make_model,
    prepared,
    save,
    train,
    weights,
    with_advantages,
)
from transformers import AutoModelForCausalLM, AutoTokenizer
from trinity.common.constants import SyncMethod
from trinity.common.models.utils import load_state_dict
from trinity.manager.synchronizer import Synchronizer

from rlagent.backends.embedded.checkpoint import fault_of
from rlagent.machine import resources


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"))


def config_for(model, folder, **changes):
    config = make_config(model, folder, options={"mini_batch_size": 6}, **changes)
    config.algorithm.optimizer.lr_scheduler_type = "cosine"
    config.algorithm.optimizer.lr_warmup_steps = 1
    config.trainer.total_steps = 4
    return config


def steps_in(folder):
    return sorted(int(path.name.rsplit("_", 1)[1]) for path in folder.glob("global_step_*"))


@contextmanager
def files_no_larger_than(size):
    """Make the operating system refuse to write larger files, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_two_and_two_steps_are_four_steps(model, tmp_path):
    straight = train(prepared(config_for(model, tmp_path / "a")), 4)
    first = train(prepared(config_for(model, tmp_path / "b")), 2)
    save(first)
    second = prepared(config_for(model, tmp_path / "b"))
    assert second.train_step_num == 2
    assert largest_difference(weights(first), weights(second)) == 0.0
    train(second, 2)
    assert largest_difference(weights(straight), weights(second)) == 0.0


TRAINS = """
import sys
from pathlib import Path
from safetensors.torch import save_file
from test_trainer_checkpoints import config_for, save, train
from trainer_fixtures import prepared, weights

model, folder, steps, result = sys.argv[1:]
trainer = train(prepared(config_for(Path(model), Path(folder))), int(steps))
save(trainer)
save_file({name: value.clone() for name, value in weights(trainer).items()}, result)
"""


@pytest.mark.slow
def test_training_again_and_resuming_in_another_process_give_the_same_bits(model, tmp_path):
    def trained(folder, steps):
        result = tmp_path / "weights.safetensors"
        arguments = [str(model), str(tmp_path / folder), str(steps), str(result)]
        tests = Path(__file__).parents[1]
        path = os.pathsep.join(map(str, (tests.parent, tests, tests / "cpu")))
        env = {**os.environ, "PYTHONPATH": path}
        subprocess.run([sys.executable, "-c", TRAINS, *arguments], env=env, check=True)
        return load_file(result)

    straight = trained("a", 4)
    assert largest_difference(straight, trained("again", 4)) == 0.0
    assert largest_difference(straight, trained("b", 2)) > 0.0
    assert largest_difference(straight, trained("b", 2)) == 0.0


def test_as_many_threads_train_whatever_computed_in_this_process_before(model, tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(7)
    try:
        assert prepared(config_for(model, tmp_path)).learner.lanes == resources.threads()
    finally:
        torch.set_num_threads(before)


def test_the_random_state_goes_on_where_it_was(model, tmp_path):
    first = prepared(config_for(model, tmp_path))
    train(first, 1)
    save(first)
    expected = torch.rand(3)
    torch.manual_seed(99)
    prepared(config_for(model, tmp_path))
    assert torch.equal(torch.rand(3), expected)


def test_the_coefficient_of_an_adaptive_penalty_is_kept(model, tmp_path):
    changes = {
        "algorithm": "reinforceplusplus",
        "kl_penalty_fn": "k1",
        "kl_penalty_fn_args": {"adaptive": True, "target_kl": torch.tensor(1.0), "horizon": 10},
    }
    first = prepared(config_for(model, tmp_path, **changes))
    first.learner.trainer_advantage.penalty.kl_coef = 0.123
    train(first, 0)
    first._step = 1
    save(first)
    second = prepared(config_for(model, tmp_path, **changes))
    assert second.learner.trainer_advantage.penalty.kl_coef == 0.123


def test_a_new_run_ignores_checkpoints_when_configured_to(model, tmp_path):
    save(train(prepared(config_for(model, tmp_path)), 1))
    config = config_for(model, tmp_path)
    config.continue_from_checkpoint = False
    assert prepared(config).train_step_num == 0


def test_saving_a_step_twice_writes_it_once(model, tmp_path):
    trainer = train(prepared(config_for(model, tmp_path)), 1)
    written = (save(trainer) / "manifest.json").stat().st_mtime_ns
    assert (save(trainer) / "manifest.json").stat().st_mtime_ns == written


def test_the_export_is_added_to_a_checkpoint_that_is_there(model, tmp_path):
    trainer = train(prepared(config_for(model, tmp_path)), 1)
    written = (save(trainer) / "manifest.json").stat().st_mtime_ns
    folder = save(trainer, save_as_hf=True)
    assert (folder / "manifest.json").stat().st_mtime_ns == written

    loaded = AutoModelForCausalLM.from_pretrained(folder / "actor" / "huggingface")
    assert largest_difference(loaded.state_dict(), weights(trainer)) == 0.0
    tokenizer = AutoTokenizer.from_pretrained(folder / "actor" / "huggingface")
    assert tokenizer.convert_tokens_to_ids("w7") == 7


def test_only_the_newest_checkpoints_are_kept(model, tmp_path):
    config = config_for(model, tmp_path)
    config.trainer.max_checkpoints_to_keep = 2
    trainer = prepared(config)
    for _ in range(4):
        save(train(trainer, 1))
    assert steps_in(tmp_path) == [3, 4]
    assert (tmp_path / "latest_checkpointed_iteration.txt").read_text() == "4"


def damage_nothing_but_size(folder):
    path = folder / "actor" / "optimizer.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def flip_a_byte(folder):
    path = folder / "actor" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content))


def remove_the_manifest(folder):
    (folder / "manifest.json").unlink()


def empty_the_manifest(folder):
    (folder / "manifest.json").write_text("")


def write_a_list_as_manifest(folder):
    (folder / "manifest.json").write_text("[]")


def write_another_type_of_manifest(folder):
    (folder / "manifest.json").write_text('{"files": {"actor/model.safetensors": 12}}')


def write_a_manifest_of_nothing(folder):
    (folder / "manifest.json").write_text('{"files": {}}')


def remove_the_state(folder):
    (folder / "trainer_state.json").unlink()


@pytest.mark.parametrize(
    "damage",
    [
        damage_nothing_but_size,
        flip_a_byte,
        remove_the_manifest,
        empty_the_manifest,
        write_a_list_as_manifest,
        write_another_type_of_manifest,
        write_a_manifest_of_nothing,
        remove_the_state,
    ],
)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(damage, model, tmp_path):
    trainer = prepared(config_for(model, tmp_path))
    save(train(trainer, 1))
    expected = weights(trainer)
    folder = save(train(trainer, 1))
    damage(folder)
    assert fault_of(folder)

    again = prepared(config_for(model, tmp_path))

    assert again.train_step_num == 1
    assert largest_difference(weights(again), expected) == 0.0
    assert (tmp_path / "latest_checkpointed_iteration.txt").read_text() == "1"
    assert fault_of(save(train(again, 1))) is None


def test_one_line_says_which_checkpoint_was_not_usable(model, tmp_path, monkeypatch):
    from rlagent.backends.embedded.checkpoint import read_latest

    trainer = prepared(config_for(model, tmp_path))
    save(train(trainer, 1))
    damage_nothing_but_size(save(train(trainer, 1)))
    lines = []
    assert read_latest(tmp_path, lines.append).step == 1
    (line,) = lines
    assert "global_step_2 is not usable (actor/optimizer.safetensors has" in line


def test_no_usable_checkpoint_among_several_is_an_error(model, tmp_path):
    flip_a_byte(save(train(prepared(config_for(model, tmp_path)), 1)))
    with pytest.raises(RuntimeError, match=r"no checkpoint .* is usable .*run\.fresh=true"):
        prepared(config_for(model, tmp_path))


def test_a_checkpoint_of_another_model_is_an_error(model, tmp_path):
    save(train(prepared(config_for(model, tmp_path / "c")), 1))
    other = make_model(tmp_path / "m", num_hidden_layers=1)
    with pytest.raises(ValueError, match="of another model"):
        prepared(config_for(other, tmp_path / "c"))


@pytest.mark.parametrize("limit", [100, 20_000, 80_000])
def test_a_full_disk_is_an_error_and_the_checkpoint_before_stays(limit, model, tmp_path):
    trainer = prepared(config_for(model, tmp_path))
    save(train(trainer, 1))
    train(trainer, 1)
    with files_no_larger_than(limit), pytest.raises(OSError, match="too large"):
        save(trainer)
    assert steps_in(tmp_path) == [1]
    assert not list(tmp_path.glob(".global_step*"))
    assert prepared(config_for(model, tmp_path)).train_step_num == 1


def test_a_full_disk_during_the_export_leaves_the_checkpoint(model, tmp_path):
    trainer = train(prepared(config_for(model, tmp_path)), 1)
    folder = save(trainer)
    with files_no_larger_than(1000), pytest.raises(Exception, match=r"(?i)too large"):
        save(trainer, save_as_hf=True)
    assert fault_of(folder) is None
    assert not (folder / "actor" / "huggingface").exists()


def test_a_killed_writer_leaves_nothing_that_counts(model, tmp_path):
    trainer = prepared(config_for(model, tmp_path))
    save(train(trainer, 1))
    shutil.copytree(tmp_path / "global_step_1", tmp_path / ".global_step_2.4711")
    assert prepared(config_for(model, tmp_path)).train_step_num == 1
    save(train(trainer, 1))
    assert not list(tmp_path.glob(".global_step*"))


def test_weights_in_files_are_read_by_trinity(model, tmp_path):
    trainer = train(prepared(config_for(model, tmp_path)), 1)
    asyncio.run(trainer.save_state_dict())
    assert (tmp_path / "latest_state_dict_iteration.txt").read_text() == "1"
    folder = tmp_path / "global_step_1" / "actor"
    read = load_state_dict(str(folder))
    expected = weights(trainer)
    assert set(expected) - set(read) == {"lm_head.weight"}
    assert largest_difference(read, expected) == 0.0


def test_mere_weights_become_a_checkpoint_without_being_away(model, tmp_path):
    config = config_for(model, tmp_path)
    config.synchronizer.sync_method = SyncMethod.CHECKPOINT
    trainer = train(prepared(config), 1)
    asyncio.run(trainer.save_state_dict())
    assert prepared(config).train_step_num == 0
    folder = save(trainer)
    assert fault_of(folder) is None
    assert (folder / ".full_checkpoint").exists()
    assert load_file(folder / "actor" / "model.safetensors")
    assert prepared(config).train_step_num == 1


def test_a_checkpoint_announces_its_weights_when_files_hand_them_over(model, tmp_path):
    config = config_for(model, tmp_path)
    config.synchronizer.sync_method = SyncMethod.CHECKPOINT
    trainer = train(prepared(config), 2)
    save(trainer)
    assert (tmp_path / "latest_state_dict_iteration.txt").read_text() == "2"


def test_nccl_is_refused_with_the_remedy(model, tmp_path):
    trainer = prepared(config_for(model, tmp_path))
    with pytest.raises(NotImplementedError, match="sync_method=memory"):
        trainer.sync_weight_nccl()
    with pytest.raises(NotImplementedError, match="sync_method=memory"):
        asyncio.run(trainer.get_weight_sync_info())


def test_an_unknown_option_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match=r"trainer_config\.thread: .*threads"):
        prepared(make_config(model, tmp_path, options={"thread": 2}))


def test_a_cosine_without_an_end_is_refused(model, tmp_path):
    config = make_config(model, tmp_path)
    config.algorithm.optimizer.lr_scheduler_type = "cosine"
    with pytest.raises(ValueError, match=r"needs trainer\.total_steps"):
        prepared(config)


def test_weights_reach_the_synchronizer(model, tmp_path):
    ray.init(num_cpus=1, include_dashboard=False, namespace="trainer-test", log_to_driver=False)
    try:
        config = config_for(model, tmp_path)
        config.ray_namespace = config.synchronizer.ray_namespace = "trainer-test"

        @ray.remote(num_cpus=0)
        class Module:
            async def is_alive(self):
                return True

        module = Module.remote()
        name = {"name": "synchronizer", "namespace": "trainer-test", "num_cpus": 0}
        actor = ray.remote(Synchronizer).options(**name).remote(config, module_ref=module)
        trainer = prepared(config)
        experiences = with_advantages(config, make_experiences())

        async def train_and_upload():
            await trainer.train_step(experiences)
            await trainer.upload_state_dict()

        asyncio.run(train_and_upload())
        received, version = ray.get(actor.get_model_state_dict.remote())
        assert version == 1
        assert set(received) == set(weights(trainer))
        assert largest_difference(received, weights(trainer)) == 0.0
    finally:
        ray.shutdown()
