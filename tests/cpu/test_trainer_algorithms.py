"""Every algorithm that ships takes a real step with the embedded trainer."""

import math
import subprocess
import sys

import pytest
import torch
from trainer_fixtures import (
    largest_difference,
    make_config,
    make_experiences,
    make_model,
    prepared,
    step,
    weights,
)
from trinity.algorithm import ALGORITHM_TYPE

from rlagent.backends.loss import Objective
from rlagent.config.algorithms import ADVANTAGES_IN_TRAINER, UNSUPPORTED
from rlagent.config.trinity_schema import algorithm_types

ALGORITHMS = [
    "multi_step_grpo",
    "grpo",
    "dapo",
    "reinforceplusplus",
    "rloo",
    "opmd",
    "asymre",
    "topr",
    "cispo",
    "gspo",
    "sapo",
    "raft",
    "sppo",
    "rec",
    "gigpo",
]


def test_the_algorithms_that_need_log_probabilities_before_the_update_are_known():
    offered = [name for name in algorithm_types() if name not in UNSUPPORTED]
    theirs = {n for n in offered if ALGORITHM_TYPE.get(n).compute_advantage_in_trainer}
    assert set(ADVANTAGES_IN_TRAINER) == theirs


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_step_moves_the_weights_by_a_finite_gradient_that_all_of_them_get(
    algorithm, model, tmp_path
):
    trainer = prepared(make_config(model, tmp_path, algorithm))
    before = weights(trainer)

    metrics = step(trainer)

    assert metrics["actor/grad_norm"] > 1e-4
    assert all(math.isfinite(value) for value in metrics.values())
    assert "actor/ppo_kl" not in metrics
    assert 0 < largest_difference(before, weights(trainer)) < 1e-2
    assert trainer.train_step_num == 1
    learner = trainer.learner
    moments = [
        learner.optimizer.state[p]["exp_avg"].abs().max()
        for group in learner.optimizer.param_groups
        for p in group["params"]
    ]
    assert all(moment > 0 for moment in moments)


@pytest.mark.parametrize(("algorithm", "reason"), [("ppo", "critic"), ("dpo", "pairs")])
def test_an_algorithm_that_cannot_run_is_refused_with_the_reason(
    algorithm, reason, model, tmp_path
):
    config = make_config(model, tmp_path)
    config.algorithm.algorithm_type = algorithm
    with pytest.raises(ValueError, match=reason):
        Objective(config.algorithm)


def test_positive_advantages_make_their_tokens_likelier(model, tmp_path):
    trainer = prepared(make_config(model, tmp_path, "grpo", kl_loss_fn="none"))
    experiences = make_experiences(most_calls=1)
    first = experiences[0]
    for experience in experiences:
        sign = 1.0 if experience is first else 0.0
        experience.advantages = sign * torch.ones(len(experience.logprobs))
    scores = []
    for _ in range(3):
        with torch.no_grad():
            tokens = first.tokens.long()[None]
            logs = torch.log_softmax(trainer.learner.model(tokens).logits[0, :-1], -1)
            picked = logs.gather(1, tokens[0, 1:, None]).squeeze(1)
            scores.append(float(picked[first.prompt_length - 1 :].sum()))
        trainer.learner.train(experiences, 1)
    assert scores[0] < scores[1] < scores[2]


def test_without_a_kl_term_no_reference_model_is_loaded(model, tmp_path):
    config = make_config(model, tmp_path, "grpo", kl_loss_fn_args={"kl_coef": 0.0})
    trainer = prepared(config)
    metrics = step(trainer)
    assert trainer.learner._reference is None
    assert not {"time/ref", "actor/kl_loss"} & set(metrics)


def test_the_kl_term_is_zero_at_first_and_then_grows(model, tmp_path):
    trainer = prepared(make_config(model, tmp_path, "grpo"))
    assert step(trainer)["actor/kl_loss"] == pytest.approx(0.0, abs=1e-6)
    assert step(trainer)["actor/kl_loss"] > 1e-6


def test_a_kl_penalty_in_the_reward_reaches_in_trainer_advantages(model, tmp_path):
    config = make_config(model, tmp_path, "reinforceplusplus", kl_penalty_fn="k1")
    config.algorithm.kl_penalty_fn_args = {"kl_coef": 0.5}
    trainer = prepared(config)
    assert step(trainer)["advantage/kl"] == pytest.approx(0.0, abs=1e-5)
    second = step(trainer)
    assert second["advantage/kl"] != 0.0
    assert second["critic/rewards/mean"] != second["critic/score/mean"]


def test_advantages_in_the_trainer_do_not_import_verl():
    program = (
        "import sys, types\n"
        "from rlagent.backends.embedded.trainer.advantages import TrainerAdvantage\n"
        "TrainerAdvantage(types.SimpleNamespace(advantage_fn='rloo', advantage_fn_args={},\n"
        "                 kl_penalty_fn='none', kl_penalty_fn_args={}))\n"
        "assert 'verl' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_old_logprobs_of_the_rollout_are_used_when_asked_for(model, tmp_path):
    config = make_config(model, tmp_path, "grpo", bypass_old_logprobs=True)
    metrics = step(prepared(config))
    assert abs(metrics["actor/ppo_kl"]) > 0.1


def test_several_updates_per_step_keep_the_old_policy_of_the_step(model, tmp_path):
    config = make_config(model, tmp_path, "grpo", options={"mini_batch_size": 5})
    config.algorithm.optimizer.lr = 1e-2
    metrics = step(prepared(config))
    assert metrics["actor/updates"] == 3
    assert "time/old_log_prob" in metrics
    assert abs(metrics["actor/ppo_kl"]) > 1e-5


def test_passes_over_a_step_clip_the_ratio_to_the_policy_at_its_start(model, tmp_path):
    options = {"updates_per_step": 2, "epochs_per_step": 3}
    config = make_config(model, tmp_path, "grpo", options=options)
    config.algorithm.optimizer.lr = 1e-2
    metrics = step(prepared(config))
    assert metrics["actor/updates"] == 6
    assert metrics["off_policy/kl/proximal_current"] > 1e-4
    assert metrics["actor/pg_clipfrac"] > 0


def test_missing_advantages_are_reported_with_the_remedy(model, tmp_path):
    trainer = prepared(make_config(model, tmp_path, "grpo"))
    with pytest.raises(ValueError, match=r"advantages.*algorithm\.advantage_fn"):
        trainer.learner.train(make_experiences(), 1)
