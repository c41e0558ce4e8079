"""What a grammar forbade is left out of the log-probabilities that are trained on."""

import numpy as np
import pytest
import torch

from rlagent.backends.embedded.allowed import decode, encode, forbidden, of_actions
from rlagent.backends.embedded.micro_batches import make_sample
from rlagent.backends.embedded.trainer import scoring

VOCABULARY = 70


def _masks(rows: int, targets: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """Random masks, packed, that allow the targets."""
    draw = np.random.default_rng(seed)
    bits = draw.random((rows, 96)) < 0.4
    bits[np.arange(rows), targets.numpy()] = True
    packed = np.packbits(bits.reshape(rows, 3, 32), axis=2, bitorder="little")
    return torch.from_numpy(packed.view(np.int32).reshape(rows, 3).copy())


def test_masks_survive_the_way_to_the_trainer():
    targets = torch.arange(9)
    masks = _masks(9, targets)
    assert (decode(encode(list(masks.numpy())), 9) == masks.numpy()).all()
    with pytest.raises(ValueError, match="do not belong"):
        decode(encode(list(masks.numpy())), 4)


def test_packed_masks_mean_what_xgrammar_means():
    import xgrammar

    masks = _masks(5, torch.arange(5))
    logits = torch.zeros(5, VOCABULARY)
    xgrammar.apply_token_bitmask_inplace(logits, masks)
    assert ((logits == float("-inf")) == forbidden(masks, VOCABULARY)).all()


@pytest.mark.parametrize("keep", [True, False])
def test_masked_scores_and_gradients_are_those_of_autograd(monkeypatch, keep):
    monkeypatch.setattr(scoring, "KEPT_LOGITS", 2**30 if keep else 0)
    monkeypatch.setattr(scoring, "LOGIT_CHUNK", 3 * VOCABULARY)
    torch.manual_seed(0)
    hidden = torch.randn(8, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(VOCABULARY, 6, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, VOCABULARY, (8,))
    masks = _masks(8, targets)
    outer, inner = torch.randn(8, dtype=torch.float64), torch.randn(8, dtype=torch.float64)

    ours, entropy = scoring._TokenScores.apply(hidden, weight, None, targets, 0.7, True, masks)
    (outer @ ours + inner @ entropy).backward()
    found = [hidden.grad.clone(), weight.grad.clone()]
    hidden.grad = weight.grad = None

    logits = (hidden @ weight.T) / 0.7
    logits = logits.masked_fill(forbidden(masks, VOCABULARY), -1e300)
    logs = torch.log_softmax(logits, dim=-1)
    expected = logs.gather(1, targets[:, None]).squeeze(1)
    expected_entropy = -(logs * logs.exp()).nan_to_num().sum(1)
    (outer @ expected + inner @ expected_entropy).backward()

    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(entropy, expected_entropy)
    torch.testing.assert_close(found, [hidden.grad, weight.grad])


def test_a_forbidden_token_gets_no_gradient():
    hidden = torch.randn(1, 4)
    weight = torch.randn(VOCABULARY, 4, requires_grad=True)
    masks = _masks(1, torch.tensor([3]))
    logprob, _ = scoring._TokenScores.apply(
        hidden, weight, None, torch.tensor([3]), 1.0, False, masks
    )
    logprob.sum().backward()
    banned = forbidden(masks, VOCABULARY)[0]
    assert not weight.grad[banned].any()
    assert weight.grad[~banned].any()


def test_free_and_constrained_responses_share_a_micro_batch():
    samples = [make_sample(np.arange(10), 6, np.ones(4)) for _ in range(2)]
    masks = _masks(4, torch.arange(6, 10)).numpy()
    joined = of_actions([None, masks], samples, [0, 1])
    assert not forbidden(joined[:4], VOCABULARY).any()
    assert (joined[4:].numpy() == masks).all()
    assert of_actions([None, masks], samples, [0]) is None
