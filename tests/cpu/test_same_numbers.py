"""On one recorded batch both trainers compute what verl 0.8 and TRL 1.16 compute of it.

Where the others define something differently, both are set alike here; docs/algorithms.md lists
every such setting, and what is computed as shipped.
"""

import itertools
from dataclasses import dataclass, field, replace
from typing import Any

import parity
import parity_trl
import parity_verl
import pytest
import torch
import verl_ranks  # noqa: F401  (Trinity's verl trainer without vLLM)
from trainer_fixtures import with_advantages

from rlagent.backends.off_policy import Correction

RECORDED_OLD = "algorithm.recompute_old_logprobs=false"
K3 = "trinity.algorithm.kl_loss_fn=low_var_kl"
TRL_EPSILON = 1e-4


@dataclass(frozen=True)
class Case:
    """How one step is asked for in three languages.

    Attributes:
        ours: Overrides of a shipped preset.
        estimator: verl's name of the advantages.
        loss: verl's name of the policy loss.
        actor: Fields of verl's ActorConfig.
        advantages: Arguments of verl's advantages.
        trl: Of TRL's GRPOConfig; None: TRL has it otherwise, see below.
        tools: Whether responses hold tokens of a tool.
        given: Whether TRL is given our advantages, because it lacks them.
    """

    ours: tuple[str, ...]
    estimator: str
    loss: str
    actor: dict[str, Any] = field(default_factory=dict)
    advantages: dict[str, Any] = field(default_factory=dict)
    trl: dict[str, Any] | None = None
    tools: bool = True
    given: bool = False


KL = ("algorithm.kl_coef=0.1", K3)
KL_VERL = {"use_kl_loss": True, "kl_loss_coef": 0.1, "kl_loss_type": "low_var_kl"}
KL_TRL = {"beta": 0.1, "use_bias_correction_kl": False}
BONUS = ("algorithm.entropy_coef=0.01",)
GRPO = {"epsilon": TRL_EPSILON}
GROUP = (f"algorithm.advantage_args.epsilon={TRL_EPSILON}",)

CASES = {
    "grpo": Case(
        ours=(*GROUP, *KL, *BONUS),
        estimator="grpo",
        loss="vanilla",
        actor={**KL_VERL, "entropy_coeff": 0.01},
        advantages=GRPO,
        trl={"loss_type": "dapo", "delta": 3.0, **KL_TRL, "entropy_coef": 0.01},
    ),
    "dapo": Case(
        ours=(*GROUP, *BONUS),
        estimator="grpo",
        loss="vanilla",
        actor={"clip_ratio_high": 0.28, "entropy_coeff": 0.01},
        advantages=GRPO,
        trl={"loss_type": "dapo", "epsilon_high": 0.28, "delta": 3.0, "entropy_coef": 0.01},
    ),
    "gspo": Case(
        # TRL's entropy bonus is a mean over tokens whatever the loss.
        ours=(*GROUP, *KL, "algorithm.entropy_coef=0"),
        estimator="grpo",
        loss="gspo",
        actor={
            **KL_VERL,
            "clip_ratio_low": 3e-4,
            "clip_ratio_high": 4e-4,
            "loss_agg_mode": "seq-mean-token-mean",
        },
        advantages=GRPO,
        trl={
            "loss_type": "grpo",
            "importance_sampling_level": "sequence",
            "epsilon": 3e-4,
            "epsilon_high": 4e-4,
            **KL_TRL,
        },
    ),
    "cispo": Case(
        ours=(*GROUP, *KL, *BONUS),
        estimator="grpo",
        loss="cispo",
        actor={**KL_VERL, "entropy_coeff": 0.01, "clip_ratio_low": 1.0, "clip_ratio_high": 0.28},
        advantages=GRPO,
        # TRL's bound is that of the ratio itself.
        trl={"loss_type": "cispo", "epsilon_high": 1.28, **KL_TRL, "entropy_coef": 0.01},
    ),
    "sapo": Case(
        ours=(*GROUP, *KL, "algorithm.entropy_coef=0"),
        estimator="grpo",
        loss="sapo",
        actor={**KL_VERL, "loss_agg_mode": "seq-mean-token-mean"},
        advantages=GRPO,
        trl={"loss_type": "sapo", **KL_TRL},
    ),
    "rloo": Case(
        ours=(*KL, *BONUS),
        estimator="rloo",
        loss="vanilla",
        actor={**KL_VERL, "entropy_coeff": 0.01},
    ),
    "reinforceplusplus": Case(
        ours=(*KL, *BONUS),
        estimator="reinforce_plus_plus",
        loss="vanilla",
        actor={**KL_VERL, "entropy_coeff": 0.01},
        trl={"loss_type": "dapo", "delta": 3.0, **KL_TRL, "entropy_coef": 0.01},
        tools=False,
        given=True,
    ),
}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    return parity.record(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module", autouse=True)
def on_cpu(tmp_path_factory):
    with (
        pytest.MonkeyPatch.context() as patch,
        parity.verl_on_cpu(tmp_path_factory.mktemp("store"), patch),
    ):
        yield


def assert_same(found: parity.Numbers, expected: parity.Numbers, before: dict) -> None:
    """All that `expected` shows, to 1e-5 relative."""
    torch.testing.assert_close(found.advantages, expected.advantages, rtol=1e-5, atol=1e-6)
    for name in ("policy_loss", "kl", "entropy", "loss", "grad_norm"):
        value = getattr(expected, name)
        if value is not None:
            # Summands of about 1 may nearly cancel.
            assert getattr(found, name) == pytest.approx(value, rel=1e-5, abs=1e-7), name
    apart, moved, whole = 0.0, 0.0, 0.0
    for name, weight in expected.weights.items():
        apart += (found.weights[name] - weight).square().sum().item()
        moved += (weight - before[name]).square().sum().item()
        whole += weight.square().sum().item()
    assert apart**0.5 <= 1e-5 * whole**0.5
    # Adam divides each gradient by its size: the few that are all rounding move as far as others.
    assert apart**0.5 <= 1e-3 * moved**0.5


CORRECTIONS = {
    "tis": (
        ("algorithm.off_policy=tis", "algorithm.off_policy_max=1.5"),
        {"rollout_is": "token", "rollout_is_threshold": 1.5},
        {"mode": "token_truncate", "clip_max": 1.5},
    ),
    "seq_mis": (
        (
            "algorithm.off_policy=seq_mis",
            "algorithm.off_policy_max=3",
            "algorithm.off_policy_min=0.2",
        ),
        {"rollout_is": "sequence", "rollout_is_threshold": "0.2_3"},
        {"mode": "sequence_mask", "clip_max": 3.0, "clip_min": 0.2},
    ),
}
"""Overrides, arguments of verl's helper, and TRL's settings after `vllm_importance_sampling_`."""


def steps(case, recorded, overrides, tmp_path, weights=None, importance=None):
    """The numbers of both trainers, then those of verl and, where it has it, of TRL."""
    batch = recorded if case.tools else recorded.without_tools
    config = parity.trinity_config(*overrides, *case.ours)
    found = [parity.embedded(batch, config, tmp_path), parity.verl_backend(batch, config)]
    expected = [
        parity_verl.step(batch, case.estimator, case.loss, case.advantages, weights, **case.actor)
    ]
    if case.trl is not None:
        given = found[0].advantages if case.given else None
        expected.append(parity_trl.step(batch, tmp_path, given, importance, **case.trl))
    return found, expected, Correction.of(config.algorithm)


@pytest.mark.parametrize("algorithm", CASES)
def test_a_step_has_the_numbers_of_verl_and_trl(algorithm, recorded, tmp_path):
    overrides = (f"algorithm={algorithm}", RECORDED_OLD)
    found, expected, _ = steps(CASES[algorithm], recorded, overrides, tmp_path)
    for theirs in expected:
        for ours in found:
            assert_same(ours, theirs, recorded.policy)


# One of those whose advantages are computed before, one of those in the trainer; the others take
# longer together.
QUICK = (("tis", "grpo"), ("tis", "rloo"))
CORRECTED = [
    pytest.param(*pair, marks=() if pair in QUICK else pytest.mark.slow)
    for pair in itertools.product(CORRECTIONS, CASES)
]


@pytest.mark.parametrize(("kind", "algorithm"), CORRECTED)
def test_a_corrected_step_has_the_numbers_of_verl_and_trl(kind, algorithm, recorded, tmp_path):
    ours, weights, importance = CORRECTIONS[kind]
    overrides = (f"algorithm={algorithm}", *ours)
    found, expected, correction = steps(
        CASES[algorithm], recorded, overrides, tmp_path, weights, importance
    )
    if (kind, algorithm) == ("tis", "gspo"):
        # TRL has one gradient for a whole response, which weights of single tokens only scale.
        del expected[1]
    for theirs in expected:
        ratio = correction.ratio(theirs.proximal, theirs.behaviour, theirs.mask)
        assert correction.out_of_bounds(ratio).any()
        torch.testing.assert_close(correction.weights(ratio) * theirs.mask, theirs.importance)
        for ours in found:
            assert_same(ours, theirs, recorded.policy)


def test_rloo_has_the_advantages_and_the_gradient_of_trl(recorded, tmp_path):
    # TRL knows no tools here, takes KL into the reward, and has one ratio for a whole response,
    # whose gradient in the first update is that of a sum over tokens; its loss is another number.
    batch = recorded.without_tools
    config = parity.trinity_config(
        "algorithm=rloo",
        "algorithm.kl_coef=0",
        "algorithm.loss_agg_mode=seq-mean-token-sum",
        "trinity.algorithm.kl_penalty_fn=k1",
        "trinity.algorithm.kl_penalty_fn_args.kl_coef=0.1",
    )
    theirs = parity_trl.rloo_step(batch, tmp_path, beta=0.1)
    for ours in (parity.embedded(batch, config, tmp_path), parity.verl_backend(batch, config)):
        assert_same(ours, replace(theirs, loss=None), recorded.policy)


def test_a_multi_step_advantage_of_one_call_is_that_of_grpo(recorded):
    found = []
    for name in ("multi_step_grpo", "grpo"):
        config = parity.trinity_config(f"algorithm={name}")
        experiences = with_advantages(config, recorded.experiences())
        found.append(torch.cat([one.advantages for one in experiences]))
    torch.testing.assert_close(found[0], found[1])
