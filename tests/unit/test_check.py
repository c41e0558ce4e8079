"""Ranges and contradictions, each with what is allowed."""

import pytest

from rlagent.config.check import GROUPED, UNSUPPORTED, check
from rlagent.config.compose import from_mapping
from rlagent.config.schema import AUTO, AuxiliaryModel, LearnConfig
from rlagent.config.spec import Spec, spec_of, validate
from rlagent.config.trinity_schema import algorithm_types
from tests.configured import configured


def problems(*overrides: str, **kwargs: bool) -> list[str]:
    return [str(item) for item in check(configured(*overrides), **kwargs)]


def test_the_shipped_experiment_has_no_mistake() -> None:
    assert problems() == []


@pytest.mark.parametrize(
    ("override", "allowed"),
    [
        ("model.temperature=0", "must be at least 0.01 and at most 100"),
        ("model.top_p=1.5", "must be at least 1e-06 and at most 1"),
        ("model.top_p=0", "must be at least 1e-06"),
        ("model.top_k=0", "must be -1 (all tokens) or at least 1 and"),
        ("model.max_model_len=0", "at least 1"),
        ("model.max_model_len=fast", "must be a number or auto"),
        ("model.dtype=bfloat", "did you mean bfloat16?"),
        ("dataset.path=", "must not be empty"),
        ("dataset.order=shuffel", "did you mean shuffle?"),
        ("dataset.eval_tasks=-1", "at least 0"),
        ("algorithm.lr=0", "must be at least 1e-12 and below 1"),
        ("algorithm.lr=atuo", "did you mean auto?"),
        ("algorithm.batch_size=-4", "at least 1"),
        ("algorithm.total_steps=0", "at least 1"),
        ("algorithm.sync_interval=0", "at least 1"),
        ("algorithm.clip_range=2", "must be at least 1e-06 and below 1"),
        ("algorithm.lr_schedule=linear", "must be one of constant, cosine"),
        ("algorithm.recompute_old_logprobs=perhaps", "true, false or auto"),
        ("algorithm.name=grpoo", "did you mean grpo?"),
        ("algorithm.name=dpo", "learns from pairs of given answers"),
        ("algorithm.repeat_times=1", "compares the rollouts of a task"),
        ("hardware.engine=vlm", "did you mean vllm?"),
        ("hardware.gpu_memory_utilization=1.5", "must be at least 0.01 and below 1"),
        ("hardware.layout=4by4", "ENGINESxTENSOR_PARALLEL+TRAINER_GPUS"),
        ("monitor.type=wandbb", "did you mean wandb?"),
        ("workflow.timeout=0", "must be at least 0.001 and at most 2592000 seconds"),
        ("workflow.function=nothing", "module:function"),
        ("run.name=a/b", "plain folder name"),
        ("run.display=loud", "must be one of auto, live, plain, none"),
    ],
)
def test_a_value_out_of_range_says_what_is_allowed(override: str, allowed: str) -> None:
    (line,) = problems(override)
    assert line.startswith(override)
    assert allowed in line


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["model.max_model_len=512", "model.max_response_tokens=512"], "no room for a prompt"),
        (
            ["algorithm.batch_size=4", "algorithm.repeat_times=8", "algorithm.train_batch_size=5"],
            "does not divide the 32 rollouts",
        ),
        (["algorithm.total_steps=5", "algorithm.lr_warmup_steps=5"], "is not below"),
        (["algorithm.total_steps=5", "algorithm.total_epochs=1"], "set one of them"),
        (["dataset.eval_split=train"], "nothing would be held out"),
        (["hardware=cpu", "hardware.gpus=2"], "uses no GPU"),
        (["hardware=4gpu", "hardware.layout=4x1+4"], "needs 8 GPUs, more than the 4 planned for"),
        (["hardware.layout=4x1+4", "hardware.engines=2"], "hardware.layout=4x1+4 says 4"),
        (["hardware=2gpu", "hardware.logical_gpus=2"], "needs real GPUs"),
        (["hardware=cpu", "hardware.logical_gpus=4", "hardware.layout=4x1+4"], "needs 8 GPUs"),
        (["workflow.judge=rlagent.rewards.gsm8k:is_correct"], "must take task and response"),
        (["workflow.args.hint=1"], "takes no such argument"),
        (["workflow.args.task=1"], "is given by rlagent itself"),
        (["seed=-1"], "must be at least 0"),
        (["seed=4294967296"], "below 4294967296"),
        (["run.dir="], "must not be empty"),
    ],
)
def test_contradictions_are_named(overrides: list[str], reason: str) -> None:
    (line,) = problems(*overrides)
    assert reason in line


def test_a_run_needs_a_workflow_unless_one_is_given() -> None:
    config = configured(experiment="")
    assert [problem.key for problem in check(config)] == ["workflow.function"]
    assert check(config, workflow_given=True) == []


def test_auxiliary_models_need_a_name_of_their_own() -> None:
    (line,) = problems(
        "workflow.auxiliary_models=[{name: judge, path: a/b}, {name: judge, path: a/c}]"
    )
    assert "is used twice" in line


def test_every_algorithm_of_trinity_is_either_offered_or_refused_with_a_reason() -> None:
    offered = [name for name in algorithm_types() if name not in UNSUPPORTED]
    assert set(UNSUPPORTED) <= set(algorithm_types())
    assert set(GROUPED) <= set(offered)


def test_a_configuration_made_in_python_is_checked_as_strictly() -> None:
    config = LearnConfig(seed="many")  # type: ignore[arg-type]
    config.algorithm.lr = [1]  # type: ignore[assignment]
    lines = [str(problem) for problem in check(config, workflow_given=True)]
    assert lines == [
        "seed=many: must be a whole number",
        "algorithm.lr=[1]: must be a number or auto",
    ]


def test_every_number_has_a_bound_at_both_ends_and_every_default_is_within() -> None:
    def unbounded(spec: Spec, value: object, key: str) -> list[str]:
        found = []
        for name, child in spec.fields.items():
            found += unbounded(child, getattr(value, name, None), f"{key}.{name}")
        if spec.item is not None and spec.item.kind == "struct":
            found += unbounded(spec.item, AuxiliaryModel(), f"{key}.0")
        if {"int", "float"} & set(spec.types):
            limits = spec.limits
            ends = limits and (limits.least, limits.above, limits.most, limits.below)
            if limits is None or ends[:2] == (None, None) or ends[2:] == (None, None):
                found.append(f"{key} has no bounds")
            elif limits.problem(key, value) and value != AUTO:
                found.append(f"{key}={value} is not within them")
        return found

    assert unbounded(spec_of(LearnConfig), LearnConfig(), "") == []


@pytest.mark.parametrize(
    "override",
    [
        *("sweep.n_trials=1e30", "algorithm.batch_size=1e18", "workflow.timeout=1e300"),
        *("hardware.threads=1000000000", "hardware.gpus=4096", "model.temperature=1e-320"),
        *("workflow.overlong_reward=1e300", "algorithm.grad_clip=1e-320"),
    ],
)
def test_a_number_that_no_run_could_mean_is_refused(override: str) -> None:
    key, value = override.split("=")
    data = {} if "." not in key else {key.split(".")[0]: {key.split(".")[1]: _number(value)}}
    config, refused = from_mapping(data)
    lines = [str(item) for item in (*refused, *check(config, workflow_given=True))]
    assert [line.partition("=")[0] for line in lines] == [key]


def _number(text: str) -> float | int:
    return int(text) if text.isdecimal() else float(text)


def test_numbers_are_finite() -> None:
    assert validate({"algorithm": {"weight_decay": float("inf")}}, spec_of(LearnConfig))[1]
    assert validate({"model": {"temperature": float("nan")}}, spec_of(LearnConfig))[1]
