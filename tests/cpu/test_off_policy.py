"""Samples of older weights are weighted as verl weights them, in both trainers' loss."""

import math
from types import SimpleNamespace

import pytest
import torch
from trainer_fixtures import make_config, make_experiences, make_model, prepared, with_advantages
from trinity.algorithm import POLICY_LOSS_FN
from trinity.common.config import AlgorithmConfig

from rlagent.backends.embedded import allowed
from rlagent.backends.loss import Extent, Objective, weighted
from rlagent.backends.off_policy import (
    Correction,
    divergence,
    finished,
    informative,
    is_largest,
    lag_of,
    measure,
)
from rlagent.config.algorithms import CORRECTIONS

MASK = torch.tensor([[1, 1, 1, 0], [1, 0, 1, 1], [1, 1, 1, 1]]).bool()


def some(seed: int) -> torch.Tensor:
    """Log-probabilities, the padding of which holds what must not count."""
    values = -3 * torch.rand(MASK.shape, generator=torch.Generator().manual_seed(seed))
    return values.masked_fill(~MASK, 7.0)


BEHAVIOUR, PROXIMAL, CURRENT = some(0), some(1), some(2)


def asked(level: str, threshold: float | str) -> Correction:
    correction = {"rollout_is": level, "rollout_is_threshold": threshold}
    return Correction.of(SimpleNamespace(rollout_correction=correction))


@pytest.mark.parametrize("threshold", [2.0, 1.2, "0.2_5.0", "0.5_9.0"])
@pytest.mark.parametrize("level", ["token", "sequence"])
def test_weights_and_measures_are_those_of_verl(level, threshold) -> None:
    from verl.trainer.ppo.rollout_corr_helper import (
        compute_offpolicy_metrics,
        compute_rollout_correction_weights,
    )

    expected, theirs = compute_rollout_correction_weights(
        PROXIMAL - BEHAVIOUR, MASK.float(), level, threshold
    )
    ours = asked(level, threshold)
    ratio = ours.ratio(PROXIMAL, BEHAVIOUR, MASK)
    weights = ours.weights(ratio)
    torch.testing.assert_close(weights * MASK, expected)
    found = finished(measure(ours, BEHAVIOUR, PROXIMAL, CURRENT, MASK, int(MASK.sum())))
    kls = compute_offpolicy_metrics(PROXIMAL, BEHAVIOUR, MASK.float())
    assert found["off_policy/kl/behaviour_proximal"] == pytest.approx(kls["k3_kl"], rel=1e-5)
    outside = found["off_policy/masked" if ours.masks else "off_policy/truncated"]
    share = theirs.get("rollout_is_oob_ratio") if ours.masks else None
    unlike = (ratio != weights)[MASK].float().mean().item()
    assert outside == pytest.approx(unlike if share is None else share)
    assert found["off_policy/weight/max"] == pytest.approx(ratio[MASK].max().item())


def test_what_differs_widely_is_cut_off_and_no_weight_is_infinite() -> None:
    far = torch.tensor([[0.0, -500.0]])
    mask = torch.ones(1, 2).bool()
    ratio = Correction("tis").ratio(far, far.flip(1), mask)
    assert ratio.tolist() == [[pytest.approx(math.exp(20)), pytest.approx(math.exp(-20))]]
    assert torch.isfinite(divergence(far - far.flip(1))).all()


@pytest.mark.parametrize("kind", CORRECTIONS)
def test_measures_of_micro_batches_add_up_to_those_of_one_batch(kind) -> None:
    correction = Correction(kind, 1.3, 0.5)
    tokens = int(MASK.sum())

    def of(rows: slice) -> dict[str, float]:
        parts = (BEHAVIOUR[rows], PROXIMAL[rows], CURRENT[rows], MASK[rows])
        return measure(correction, *parts, tokens)

    whole, first, second = of(slice(None)), of(slice(1)), of(slice(1, None))
    for name, value in whole.items():
        both = (first[name], second[name])
        assert value == pytest.approx(max(both) if is_largest(name) else sum(both), rel=1e-5)


def test_equal_policies_have_weights_of_one_and_an_effective_sample_of_all() -> None:
    found = finished(measure(Correction("tis"), PROXIMAL, PROXIMAL, PROXIMAL, MASK, 10))
    assert found["off_policy/weight/mean"] == found["off_policy/weight/max"] == 1
    assert found["off_policy/ess"] == 1
    assert found["off_policy/truncated"] == found["off_policy/kl/behaviour_proximal"] == 0


def test_one_sample_that_outweighs_all_others_leaves_an_effective_sample_of_one() -> None:
    proximal = torch.tensor([[0.0, -19.0, -19.0, -19.0]])
    behaviour = torch.full((1, 4), -15.0)
    mask = torch.ones(1, 4).bool()
    found = finished(measure(Correction(), behaviour, proximal, proximal, mask, 4))
    assert found["off_policy/ess"] == pytest.approx(1 / 4, rel=1e-4)


LOSSES = ("ppo", "gspo", "cispo", "sapo", "opmd", "topr", "sppo", "importance_sampling")


@pytest.mark.parametrize("name", LOSSES)
def test_weighting_the_advantage_weights_the_loss_of_each_token(name) -> None:
    function = POLICY_LOSS_FN.get(name)
    loss = function(backend="tinker", **function.default_args())
    advantages = torch.randn(MASK.shape, generator=torch.Generator().manual_seed(3))
    weights = torch.rand(MASK.shape, generator=torch.Generator().manual_seed(4))
    weights[0, 0] = 0.0

    def gradient(mask: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        current = CURRENT.clone().requires_grad_()
        fields = {"old_logprob": PROXIMAL, "action_mask": mask, "advantages": advantages * factor}
        loss(logprob=current, **fields)[0].backward()
        return current.grad

    whole = gradient(MASK, torch.ones_like(weights))
    torch.testing.assert_close(gradient(MASK, weights), whole * weights)


def objective(kind: str = "none", **changes) -> Objective:
    correction = None
    if kind != "none":
        least = "0.6_" if kind.endswith("mis") else ""
        level = "sequence" if kind.startswith("seq_") else "token"
        correction = {"rollout_is": level, "rollout_is_threshold": f"{least}1.5"}
    settings = {
        "algorithm_type": "grpo",
        "policy_loss_fn": "ppo",
        "policy_loss_fn_args": {"clip_range": 0.2},
        "kl_loss_fn": "none",
        "kl_loss_fn_args": {},
        "entropy_loss_fn": "none",
        "entropy_loss_fn_args": {},
        "bypass_old_logprobs": False,
        "rollout_correction": correction,
    }
    return Objective(AlgorithmConfig(**{**settings, **changes}))


@pytest.mark.parametrize("kind", CORRECTIONS[1:])
def test_the_loss_is_that_of_verl_with_its_rollout_weights(kind) -> None:
    from verl.trainer.ppo.core_algos import compute_policy_loss_vanilla
    from verl.workers.config.actor import FSDPActorConfig

    ours = objective(kind)
    weights = ours.correction.weights(ours.correction.ratio(PROXIMAL, BEHAVIOUR, MASK))
    advantages = torch.randn(MASK.shape, generator=torch.Generator().manual_seed(3))
    extent = Extent(int(MASK.sum()), *MASK.shape)
    fields = {
        "action_mask": MASK,
        "old_logprob": PROXIMAL,
        "rollout_logprob": BEHAVIOUR,
        "advantages": advantages,
    }
    loss, metrics = ours(CURRENT, torch.zeros_like(CURRENT), fields, extent, extent)
    settings = FSDPActorConfig(
        strategy="fsdp",
        rollout_n=1,
        clip_ratio=0.2,
        clip_ratio_low=0.2,
        clip_ratio_high=0.2,
        ppo_micro_batch_size_per_gpu=1,
    )
    theirs, _ = compute_policy_loss_vanilla(
        PROXIMAL,
        CURRENT,
        advantages,
        MASK.float(),
        "token-mean",
        settings,
        rollout_is_weights=weights,
    )
    torch.testing.assert_close(loss, theirs)
    assert fields["advantages"] is advantages
    assert metrics["off_policy/kl/proximal_current"] > 0


def test_samples_without_recorded_log_probabilities_cannot_be_corrected() -> None:
    advantages = torch.ones(MASK.shape)
    with pytest.raises(ValueError, match="recorded no log-probabilities"):
        weighted(Correction("tis"), advantages, None, PROXIMAL, CURRENT, MASK, 10)
    same, measured = weighted(Correction(), advantages, None, PROXIMAL, CURRENT, MASK, 10)
    assert same is advantages
    assert measured == {}


def test_the_lag_counts_tokens_and_what_is_0_by_construction_is_not_shown() -> None:
    old, new = make_experiences(version=1, runs=1), make_experiences(version=3, runs=1)
    tokens = [sum(int(each.action_mask.sum()) for each in part) for part in (old, new)]
    found = lag_of([*old, *new], step=4)
    assert found["off_policy/lag/mean"] == pytest.approx(2 * tokens[0] / sum(tokens))
    assert found["off_policy/lag/max"] == 2
    shown = {"actor/ppo_kl": 0.0, "off_policy/kl/proximal_current": 0.0, "actor/entropy": 1.0}
    assert set(informative(shown, 1, old_is_behaviour=False)) == {"actor/entropy"}
    assert set(informative(shown, 1, old_is_behaviour=True)) == {"actor/entropy", "actor/ppo_kl"}
    assert informative(shown, 2, old_is_behaviour=False) == shown


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"))


def test_a_step_of_the_embedded_trainer_weights_what_other_weights_sampled(model, tmp_path):
    def moved(kind: str) -> dict[str, float]:
        correction = {"rollout_is": "token", "rollout_is_threshold": 2.0}
        chosen = correction if kind == "tis" else None
        config = make_config(model, tmp_path, "grpo", rollout_correction=chosen)
        learner = prepared(config).learner
        return learner.train(with_advantages(config, make_experiences()), 2)

    plain, corrected = moved("none"), moved("tis")
    # The recorded log-probabilities are made up, so that the policies differ widely.
    assert 0 < corrected["off_policy/ess"] < 0.9
    assert 0 < corrected["off_policy/truncated"] < 1
    assert corrected["off_policy/lag/mean"] == 1
    assert "off_policy/truncated" not in plain
    assert corrected["off_policy/weight/mean"] == plain["off_policy/weight/mean"]
    assert corrected["actor/grad_norm"] != plain["actor/grad_norm"]
    assert "actor/ppo_kl" not in corrected


@pytest.mark.parametrize("known", [True, False])
def test_with_top_p_at_lag_1_the_ratio_is_of_what_was_left_to_draw_from(known, model, tmp_path):
    """The engine renormalises over what top_p left; knowing it, the trainer does so too."""
    correction = {"rollout_is": "token", "rollout_is_threshold": 2.0}
    config = make_config(model, tmp_path, "grpo", rollout_correction=correction)
    learner = prepared(config).learner
    experiences = make_experiences()
    for one in experiences:
        with torch.no_grad():
            logits = learner.model(one.tokens.long()[None]).logits[0, one.prompt_length - 1 : -1]
        left = logits >= logits.topk(32).values[:, -1:]
        drawn = one.tokens[one.prompt_length :].long()
        left[torch.arange(len(drawn)), drawn] = True
        kept = logits.masked_fill(~left, -math.inf).log_softmax(-1)
        one.logprobs = kept[torch.arange(len(drawn)), drawn]
        if known:
            one.info["allowed_tokens"] = allowed.encode([allowed.pack(row) for row in kept])
    metrics = learner.train(with_advantages(config, experiences), 2)
    assert metrics["off_policy/lag/mean"] == 1
    if known:
        assert metrics["off_policy/weight/mean"] == pytest.approx(1, abs=1e-4)
        assert metrics["off_policy/ess"] == pytest.approx(1, abs=1e-4)
    else:
        # Too small by the share of the probability that was left: why vLLM with top_p is refused.
        assert metrics["off_policy/weight/mean"] < 0.99
