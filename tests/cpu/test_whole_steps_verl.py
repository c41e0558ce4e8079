"""Whole steps of any size on several trainer ranks: verl's engine on CPUs, with gloo."""

import os
import socket
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from verl_ranks import EXPERIENCES, algorithm, engine_on_cpu, rows_of, update

pytestmark = pytest.mark.slow


def _run(tmp_path: Path, ranks: int, tokens: int, mode: str, packs: bool, fresh: bool = False):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        os.environ["TEST_PORT"] = str(probe.getsockname()[1])
    out = tmp_path / f"{ranks}-{mode}-{packs}.pt"
    mp.spawn(update, (ranks, tokens, mode, packs, fresh, str(out)), nprocs=ranks)
    return torch.load(out, weights_only=False)


def _reference(mode: str) -> tuple[dict, float]:
    """Trinity's own loss over all experiences at once, without verl."""
    from trinity.algorithm import ENTROPY_LOSS_FN, POLICY_LOSS_FN

    settings = algorithm(mode)
    rows = rows_of(EXPERIENCES).batch
    module = engine_on_cpu(False).module
    width = rows["responses"].shape[1]
    predictions = module(
        input_ids=rows["input_ids"],
        attention_mask=rows["attention_mask"],
        position_ids=rows["position_ids"],
    ).logits[:, -width - 1 : -1]
    every = predictions.log_softmax(-1)
    logprob = every.gather(-1, rows["responses"].unsqueeze(-1)).squeeze(-1)
    entropy = -(every.exp() * every).sum(-1)
    mask = rows["response_mask"].bool()
    policy = POLICY_LOSS_FN.get("ppo")(backend="verl", **settings.policy_loss_fn_args)
    loss, _ = policy(
        logprob=logprob,
        old_log_probs=rows["old_log_probs"],
        response_mask=mask,
        advantages=rows["advantages"],
    )
    bonus = ENTROPY_LOSS_FN.get("default")(**settings.entropy_loss_fn_args)
    loss = loss - bonus(entropy=entropy, action_mask=mask, loss_agg_mode=mode)[0]
    loss.backward()
    return {name: p.grad for name, p in module.named_parameters()}, loss.item()


@pytest.mark.parametrize(
    ("ranks", "mode", "packs"),
    [
        (2, "token-mean", True),
        (4, "token-mean", True),
        (2, "token-mean", False),
        (4, "seq-mean-token-sum", False),
        (2, "seq-mean-token-mean", True),
        (2, "seq-mean-token-sum-norm", True),
    ],
)
def test_575_experiences_on_several_ranks_give_the_gradient_of_one_batch(
    tmp_path, ranks, mode, packs
):
    grads, loss = _reference(mode)
    found = _run(tmp_path, ranks, 1500, mode, packs)
    assert found["micro"] > 1
    assert found["metrics"]["actor/final_loss"] == pytest.approx(loss, rel=1e-5, abs=1e-6)
    size = max(grad.abs().max().item() for grad in grads.values())
    for name, grad in grads.items():
        torch.testing.assert_close(found["grads"][name], grad, rtol=1e-5, atol=1e-5 * size)


def test_with_fresh_old_log_probabilities_nothing_is_clipped(tmp_path):
    found = _run(tmp_path, 2, 1500, "token-mean", True, fresh=True)
    assert found["metrics"]["actor/ppo_kl"] == 0
    assert found["metrics"]["actor/pg_clipfrac"] == 0
    assert found["metrics"]["actor/off_policy/kl/behaviour_proximal"] > 0
    assert found["metrics"]["actor/off_policy/kl/proximal_current"] == 0
