"""Log-probabilities and entropies in pieces, against torch's own in one."""

from types import SimpleNamespace

import pytest
import torch

from rlagent.backends.verl import logits
from rlagent.upstream import trinity_imports


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    # Three rows a piece: several pieces, and a last one that is not full.
    monkeypatch.setattr(logits, "PIECE_BYTES", 4 * 11 * 3)


def _inputs(dtype=torch.float32):
    chance = torch.Generator().manual_seed(1)
    values = (torch.randn(2, 5, 11, generator=chance) * 3).to(dtype).requires_grad_()
    labels = torch.randint(0, 11, (2, 5), generator=chance)
    return values, labels, torch.randn(2, 5, generator=chance)


@pytest.mark.parametrize("reuse", [False, True])
def test_log_probabilities_and_their_gradient_are_those_of_log_softmax(reuse):
    values, labels, weights = _inputs()
    expected = values.log_softmax(-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    (grad,) = torch.autograd.grad((expected * weights).sum(), values)
    found = logits.log_probs(values * 1, labels, reuse)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad((found * weights).sum(), values)[0], grad)


def test_entropies_and_their_gradient_are_those_of_softmax():
    values, _, weights = _inputs()
    every = values.log_softmax(-1)
    expected = -(every.exp() * every).sum(-1)
    (grad,) = torch.autograd.grad((expected * weights).sum(), values)
    found = logits.entropy(values)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad((found * weights).sum(), values)[0], grad)


def test_bfloat16_logits_give_float32_log_probabilities():
    values, labels, _ = _inputs(torch.bfloat16)
    found = logits.log_probs(values, labels)
    exact = values.float().log_softmax(-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact)
    found.sum().backward()
    assert values.grad.dtype == torch.bfloat16


@pytest.fixture
def verl(monkeypatch):
    """verl's modules that are patched; mended afterwards."""
    trinity_imports.without_vllm.apply()
    from verl.utils import torch_functional
    from verl.workers.engine.fsdp import transformer_impl

    engine = transformer_impl.FSDPEngineWithLMHead
    monkeypatch.setattr(engine, "prepare_model_outputs", engine.prepare_model_outputs)
    for module, name in (
        (transformer_impl, "logprobs_from_logits"),
        (torch_functional, "entropy_from_logits"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))
    return SimpleNamespace(
        by_name=torch_functional, by_import=transformer_impl, engine=SimpleNamespace()
    )


@pytest.mark.parametrize("gradient", [True, False])
def test_verl_computes_both_with_them_and_keeps_a_gradient_of_the_entropy_only_where_asked_for(
    verl, gradient
):
    values, labels, _ = _inputs(torch.bfloat16)
    logits.use_in_verl(gradient, verl.engine)
    found = verl.by_import.logprobs_from_logits(
        logits=values * 1, labels=labels, inplace_backward=True
    )
    assert torch.equal(found, logits.log_probs(values, labels))
    # Where rows are packed, and where they are not.
    for compute in (
        verl.engine.compute_entropy_from_logits,
        verl.by_name.entropy_from_logits,
    ):
        entropies = compute(values)
        assert torch.equal(entropies, logits.entropy(values))
        assert entropies.requires_grad == gradient
