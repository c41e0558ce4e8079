"""LoRA in the embedded trainer and engine: an adapter is trained, kept and handed over alone."""

import asyncio

import pytest
import random_model
import torch
from safetensors.torch import load_file
from trainer_fixtures import (
    make_config,
    make_experiences,
    make_model,
    prepared,
    save,
    step,
    train,
    weights,
)
from transformers import AutoModelForCausalLM
from trinity.common.constants import SyncMethod

from rlagent.backends.embedded.adapter import Merger, is_adapter, read_adapter
from rlagent.backends.embedded.engine.service import Service, ServiceOptions
from rlagent.backends.embedded.trainer.trainer import load_model
from rlagent.records.checkpoints import ADAPTER, WEIGHTS, fault_of

LORA = {"rank": 4, "alpha": 8, "dropout": 0.0, "target_modules": ["all-linear"]}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"))


def config_for(model, folder, lora=None, **changes):
    options = {"lora": {**LORA, **(lora or {})}}
    config = make_config(model, folder, options=options, **changes)
    config.algorithm.optimizer.lr = 1e-2
    return config


def adapter_of(trainer):
    return {name: value.clone() for name, value in trainer.learner.adapter.weights().items()}


def is_same(left, right):
    return left.keys() == right.keys() and all(
        torch.equal(left[name], right[name]) for name in left
    )


def logits(model, tokens=tuple(range(2, 30))):
    with torch.no_grad():
        return model(input_ids=torch.tensor([tokens])).logits


def test_the_base_stays_and_the_adapter_learns(model, tmp_path):
    trainer = prepared(config_for(model, tmp_path))
    before, base = adapter_of(trainer), weights(trainer)
    train(trainer, 2)
    after = weights(trainer)
    assert not is_same(before, adapter_of(trainer))
    assert all(torch.equal(base[name], after[name]) for name in base if "lora_" not in name)


def test_two_and_two_steps_are_four_steps(model, tmp_path):
    dropping = {"dropout": 0.1}
    straight = train(prepared(config_for(model, tmp_path / "a", dropping)), 4)
    first = train(prepared(config_for(model, tmp_path / "b", dropping)), 2)
    save(first)
    second = prepared(config_for(model, tmp_path / "b", dropping))
    assert second.train_step_num == 2
    assert is_same(adapter_of(first), adapter_of(second))
    assert is_same(adapter_of(straight), adapter_of(train(second, 2)))


def test_a_checkpoint_holds_the_adapter_and_no_base(model, tmp_path):
    trainer = train(prepared(config_for(model, tmp_path)), 1)
    folder = save(trainer)
    assert fault_of(folder) is None
    assert not (folder / WEIGHTS).exists()
    assert is_same(load_file(folder / ADAPTER), adapter_of(trainer))
    (folder / ADAPTER).write_bytes(b"")
    assert "lora_adapter" in fault_of(folder)


def test_peft_reads_what_a_checkpoint_holds(model, tmp_path):
    from peft import AutoPeftModelForCausalLM

    trainer = train(prepared(config_for(model, tmp_path)), 2)
    folder = save(trainer)
    read = AutoPeftModelForCausalLM.from_pretrained((folder / ADAPTER).parent, dtype=torch.float32)
    assert torch.equal(logits(read.eval()), logits(trainer.learner.model))


def test_merged_it_gives_the_logits_of_base_and_adapter(model, tmp_path):
    trainer = train(prepared(config_for(model, tmp_path)), 3)
    folder = save(trainer, save_as_hf=True)
    expected = logits(trainer.learner.model)
    exported = AutoModelForCausalLM.from_pretrained(
        folder / "actor/huggingface", dtype=torch.float32
    )
    served = load_model(str(model))
    Merger(served).merge(read_adapter(folder))
    assert not torch.allclose(logits(load_model(str(model))), expected, atol=1e-2)
    torch.testing.assert_close(logits(exported.eval()), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(logits(served), expected, rtol=0, atol=1e-5)


def test_an_engine_forgets_the_adapter_before(model, tmp_path):
    trainer = prepared(config_for(model, tmp_path, {"target_modules": ["q_proj", "v_proj"]}))
    served = load_model(str(model))
    merger, states = Merger(served), []
    for _ in range(2):
        train(trainer, 1)
        states.append({k: v.clone() for k, v in trainer.learner.adapter.handed_over().items()})
    once = load_model(str(model))
    Merger(once).merge(states[1])
    for state in (*states, states[0], states[1]):
        merger.merge(state)
    assert torch.equal(logits(served), logits(once))


def test_an_adapter_of_another_model_is_refused(model, tmp_path):
    trainer = prepared(config_for(model, tmp_path))
    other = load_model(str(make_model(tmp_path / "other", hidden_size=16, head_dim=4)))
    before = logits(other)
    with pytest.raises(ValueError, match="does not fit the model"):
        Merger(other).merge(trainer.learner.adapter.handed_over())
    assert torch.equal(logits(other), before)


def test_the_reference_is_the_base_without_a_second_copy(model, tmp_path, monkeypatch):
    from rlagent.backends.embedded.trainer import trainer as module

    loaded = []

    def load(*given):
        loaded.append(given)
        return load_model(*given)

    monkeypatch.setattr(module, "load_model", load)
    config = config_for(model, tmp_path, kl_loss_fn="k2", kl_loss_fn_args={"kl_coef": 0.1})
    trainer = prepared(config)
    first, second = step(trainer, seed=0), step(trainer, seed=1)
    # Before the first update the adapter adds nothing: the policy is the reference.
    assert first["actor/kl_loss"] == pytest.approx(0.0, abs=1e-9)
    assert second["actor/kl_loss"] > 1e-6
    assert len(loaded) == 1


def test_inputs_are_dropped_in_updates_alone(model, tmp_path):
    trainer = prepared(config_for(model, tmp_path, {"dropout": 0.5}))
    train(trainer, 1)
    tokens = make_experiences(seed=3)[0].tokens.tolist()
    scored = logits(trainer.learner.model, tokens)
    assert torch.equal(scored, logits(trainer.learner.model, tokens))
    with trainer.learner.adapter.training():
        assert not torch.equal(scored, logits(trainer.learner.model, tokens))
    assert torch.equal(scored, logits(trainer.learner.model, tokens))


def test_modules_that_the_model_lacks_are_named(model, tmp_path):
    with pytest.raises(ValueError, match=r"model\.lora\.target_modules.*c_attn"):
        prepared(config_for(model, tmp_path, {"target_modules": ["c_attn"]}))


def test_trinity_takes_the_adapter_of_one_gpu_as_it_was_planned(tmp_path):
    from configured import configured

    from rlagent.config.resolve import resolve
    from rlagent.machine.resources import GPU, Machine
    from rlagent.trinity.build import build
    from rlagent.trinity.translate import to_trinity

    asked = configured("hardware=1gpu", "model=qwen3_8b", "model.lora.rank=12")
    machine = Machine((GPU("NVIDIA H100 80GB HBM3", 80),), 16, 128)
    resolved = resolve(asked, machine)
    tree = to_trinity(resolved, tmp_path)
    # Where the model is downloaded is not asked here.
    tree["model"]["model_path"] = str(make_model(tmp_path / "model"))
    config = build(tree)
    engine = config.explorer.rollout_model
    assert engine.enable_lora
    assert engine.gpu_memory_utilization == resolved.config.hardware.gpu_memory_utilization > 0.25
    assert engine.lora_kwargs["max_lora_rank"] == 12
    assert config.synchronizer.sync_method.value == "checkpoint"
    assert not (tmp_path / "checkpoints" / "dummy_lora").exists()


def test_what_an_engine_samples_has_the_log_probabilities_of_the_trainer(tmp_path):
    folder = random_model.save(tmp_path / "random")
    trainer = train(prepared(config_for(folder, tmp_path / "run")), 2)
    service = Service(ServiceOptions(str(folder), "random", 512, max_response_tokens=24))
    service.start()
    prompt, body = list(range(5, 25)), {"temperature": 1.0}

    def drawn():
        (request,) = asyncio.run(service.generate(prompt, body))
        logs = logits(trainer.learner.model, prompt + request.tokens)[0].log_softmax(-1)
        after = logs[len(prompt) - 1 : -1]
        tokens = torch.tensor(request.tokens)[:, None]
        return torch.tensor(request.logprobs), after.gather(1, tokens)[:, 0]

    try:
        sampled, trained = drawn()
        assert (sampled - trained).abs().max() > 1e-2, "the base is another policy"
        for _ in range(2):
            asyncio.run(service.load_weights(trainer.learner.adapter.handed_over()))
            sampled, trained = drawn()
            torch.testing.assert_close(sampled, trained, rtol=0, atol=1e-4)
            train(trainer, 1)
    finally:
        service.stop()


def test_through_files_the_adapter_is_handed_over_alone_too(model, tmp_path):
    config = config_for(model, tmp_path)
    config.synchronizer.sync_method = SyncMethod.CHECKPOINT
    trainer = train(prepared(config), 1)
    asyncio.run(trainer.save_state_dict())
    file = trainer.root / "global_step_1" / WEIGHTS
    served = load_model(str(model))
    Merger(served).merge(load_file(file))
    torch.testing.assert_close(logits(served), logits(trainer.learner.model), rtol=0, atol=1e-5)
    train(trainer, 1)
    folder = save(trainer)
    # The engine reads it of a checkpoint as well.
    assert is_adapter(load_file(folder / WEIGHTS))
    assert fault_of(folder) is None
    assert prepared(config).train_step_num == 2
