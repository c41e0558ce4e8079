"""Short cuts of the embedded trainer (shared tokens, micro-batches, chunks) change no number."""

import numpy as np
import pytest
import torch
from trainer_fixtures import (
    largest_difference,
    make_config,
    make_experiences,
    make_model,
    prepared,
    with_advantages,
)
from transformers import (
    AutoModelForCausalLM,
    Cohere2Config,
    Gemma2Config,
    GPT2Config,
    GraniteConfig,
    LlamaConfig,
    MambaConfig,
)

from rlagent.backends.embedded.micro_batches import merge_rows, plan_micro_batches
from rlagent.backends.embedded.trainer import scoring
from rlagent.backends.embedded.trainer.scoring import Abilities, Scorer, find_abilities
from rlagent.backends.embedded.trainer.step_data import StepData

AGGREGATIONS = [
    "token-mean",
    "seq-mean-token-sum",
    "seq-mean-token-mean",
    "seq-mean-token-sum-norm",
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"))


def gradients_after(config, experiences, budget, abilities=None):
    """Gradients of one update, caught before the optimizer takes them, and its metrics."""
    learner = prepared(config).learner
    learner.token_budget = budget
    if abilities is not None:
        learner.scorer.abilities = abilities
    # Adam's first moment after one step is (1 - beta1) times the clipped gradient.
    learner.grad_clip = 0.0
    metrics = learner.train(experiences, 1)
    moments = {
        name: learner.optimizer.state[parameter]["exp_avg"] * 10
        for name, parameter in learner.model.named_parameters()
    }
    return moments, metrics


@pytest.mark.parametrize(
    ("algorithm", "aggregation"),
    [
        *(("grpo", aggregation) for aggregation in AGGREGATIONS),
        ("gspo", "token-mean"),
        ("gspo", "seq-mean-token-mean"),
        # Its policy loss is a seq-mean-token-mean always; only the other terms are told.
        ("rec", "token-mean"),
        pytest.param("gspo", "seq-mean-token-sum", marks=pytest.mark.slow),
        pytest.param("gspo", "seq-mean-token-sum-norm", marks=pytest.mark.slow),
        *(pytest.param("rec", one, marks=pytest.mark.slow) for one in AGGREGATIONS[1:]),
    ],
)
def test_micro_batches_add_up_to_one_big_batch(algorithm, aggregation, model, tmp_path):
    config = make_config(
        model,
        tmp_path,
        algorithm,
        loss_agg_mode=aggregation,
        bypass_old_logprobs=True,
        entropy_loss_fn_args={"entropy_coef": 0.01},
        kl_loss_fn="k1",
        kl_loss_fn_args={"kl_coef": 0.1},
    )
    experiences = with_advantages(config, make_experiences())
    together, whole = gradients_after(config, experiences, budget=100_000)
    apart, parts = gradients_after(config, experiences, budget=60)
    assert parts["tokens/computed"] != whole["tokens/computed"]
    scale = max(float(value.abs().max()) for value in together.values())
    assert largest_difference(together, apart) < 1e-5 * scale
    for name in ("actor/pg_loss", "actor/entropy", "actor/kl_loss", "actor/final_loss"):
        assert parts[name] == pytest.approx(whole[name], rel=1e-4, abs=1e-7)


def test_shared_tokens_give_the_gradients_of_separate_rows(model, tmp_path):
    config = make_config(model, tmp_path, "grpo", kl_loss_fn="none")
    experiences = with_advantages(config, make_experiences(runs=6))
    shared, quick = gradients_after(config, experiences, 4096)
    plain, slow = gradients_after(config, experiences, 4096, Abilities(False, False))
    scale = max(float(value.abs().max()) for value in plain.values())
    assert largest_difference(shared, plain) < 1e-5 * scale
    assert quick["tokens/computed"] < 0.8 * slow["tokens/computed"]


@pytest.fixture(scope="module")
def one_lane(model, tmp_path_factory):
    """Experiences, and the gradients and metrics of one lane that learns from them."""
    folder = tmp_path_factory.mktemp("one")
    one = make_config(model, folder, "grpo", options={"threads": 1})
    experiences = with_advantages(one, make_experiences(tasks=4, runs=6))
    return experiences, *gradients_after(one, experiences, 300)


@pytest.mark.parametrize("lanes", [2, 3, 50])
def test_lanes_side_by_side_give_the_gradients_of_one(lanes, one_lane, model, tmp_path):
    experiences, expected, alone = one_lane
    many = make_config(model, tmp_path, "grpo", options={"threads": lanes})
    got, together = gradients_after(many, experiences, 300)
    scale = max(float(value.abs().max()) for value in expected.values())
    assert largest_difference(expected, got) < 1e-5 * scale
    assert together["actor/pg_loss"] == pytest.approx(alone["actor/pg_loss"], rel=1e-4)
    again, _ = gradients_after(many, experiences, 300)
    assert largest_difference(got, again) == 0.0


def test_scores_are_those_of_the_model_itself(model, tmp_path):
    network = prepared(make_config(model, tmp_path)).learner.model
    data = StepData(make_experiences())
    scorer = Scorer(network, temperature=0.7)
    assert scorer.abilities == Abilities(True, True)
    for batch in plan_micro_batches(merge_rows(data.samples, range(len(data.samples))), 200):
        scores = scorer(batch, data.samples)
        expected_logprobs, expected_entropy = [], []
        for member in batch.members:
            sample = data.samples[member]
            logits = network(torch.from_numpy(sample.tokens)[None]).logits[0]
            logs = torch.log_softmax(logits[sample.positions] / 0.7, -1)
            expected_logprobs.append(
                logs.gather(1, torch.from_numpy(sample.targets)[:, None])[:, 0]
            )
            expected_entropy.append(-(logs * logs.exp()).sum(-1))
        torch.testing.assert_close(scores.logprobs, torch.cat(expected_logprobs))
        torch.testing.assert_close(scores.entropy, torch.cat(expected_entropy))


@pytest.mark.parametrize("kept", [0, scoring.KEPT_LOGITS])
@pytest.mark.parametrize("bias", [False, True])
def test_the_output_layer_has_the_gradients_of_autograd(bias, kept, monkeypatch):
    monkeypatch.setattr(scoring, "KEPT_LOGITS", kept)
    monkeypatch.setattr(scoring, "LOGIT_CHUNK", 100)
    torch.manual_seed(0)
    inputs = [torch.randn(11, 8), torch.randn(30, 8), torch.randn(30) if bias else None]
    inputs = [value if value is None else value.double().requires_grad_() for value in inputs]
    targets = torch.randint(0, 30, (11,))

    def quick(hidden, weight, bias):
        return scoring._TokenScores.apply(hidden, weight, bias, targets, 1.3, True, None)

    leaves = [value for value in inputs if value is not None]
    assert torch.autograd.gradcheck(lambda *some: quick(*some, *inputs[len(some) :]), leaves)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (LlamaConfig(num_key_value_heads=2), (True, True)),
        (GPT2Config(), (True, True)),
        (GraniteConfig(logits_scaling=3.0, num_key_value_heads=2), (False, False)),
        (Cohere2Config(logit_scale=0.3, num_key_value_heads=2), (False, False)),
        (Gemma2Config(final_logit_softcapping=1.0, head_dim=8), (False, False)),
        (MambaConfig(state_size=4), (False, True)),
    ],
    ids=lambda value: getattr(value, "model_type", None),
)
def test_other_kinds_of_models_score_right_whatever_they_allow(config, expected):
    torch.manual_seed(0)
    shape = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2}
    if config.model_type not in ("mamba", "gpt2"):
        shape.update(intermediate_size=64, num_attention_heads=4)
    if config.model_type == "gpt2":
        shape.update(n_head=4)
    for name, value in {**shape, "pad_token_id": 0, "initializer_range": 0.3}.items():
        setattr(config, name, value)
    network = AutoModelForCausalLM.from_config(config).eval()
    abilities = find_abilities(network)
    assert (abilities.shares_prefix, abilities.splits_head) == expected
    assert len(abilities.notes) == (0 if all(expected) else 1)
    data = StepData(make_experiences())
    scorer = Scorer(network, 1.0, abilities)
    rows = merge_rows(data.samples, range(len(data.samples)))
    for batch in plan_micro_batches(rows, 500, abilities.shares_prefix):
        got = scorer(batch, data.samples).logprobs.detach()
        expected_parts = []
        for sample in (data.samples[m] for m in batch.members):
            logs = torch.log_softmax(network(torch.from_numpy(sample.tokens)[None]).logits[0], -1)
            expected_parts.append(logs[sample.positions, sample.targets].detach())
        torch.testing.assert_close(got, torch.cat(expected_parts), rtol=1e-3, atol=1e-3)


def test_experiences_without_actions_change_nothing(model, tmp_path):
    config = make_config(model, tmp_path, "grpo", loss_agg_mode="seq-mean-token-mean")
    experiences = with_advantages(config, make_experiences())
    expected, _ = gradients_after(config, experiences, 4096)
    empty = make_experiences(seed=9, tasks=1, runs=1)
    for experience in empty:
        experience.action_mask = torch.zeros_like(experience.action_mask)
        experience.advantages = torch.zeros(len(experience.action_mask))
    got, metrics = gradients_after(config, [*experiences, *empty], 4096)
    assert largest_difference(expected, got) == 0.0
    assert metrics["sample/experiences"] == len(experiences) + len(empty)


def test_masked_response_tokens_get_no_gradient(model, tmp_path):
    config = make_config(model, tmp_path, "grpo", kl_loss_fn="none")
    experiences = with_advantages(config, make_experiences())
    for experience in experiences:
        experience.action_mask[0] = False
    expected, metrics = gradients_after(config, experiences, 4096)
    for experience in experiences:
        experience.advantages[0] = 1e3
    got, _ = gradients_after(config, experiences, 4096)
    assert largest_difference(expected, got) == 0.0
    assert metrics["tokens/trained"] == sum(int(e.action_mask.sum()) for e in experiences)


def test_lag_counts_model_versions(model, tmp_path):
    config = make_config(model, tmp_path, "grpo")
    learner = prepared(config).learner
    metrics = learner.train(with_advantages(config, make_experiences(version=2)), 5)
    assert metrics["sample/lag"] == 2.0
    assert np.isfinite(metrics["perf/time_per_step"])
