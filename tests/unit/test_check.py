"""Ranges and contradictions, each with what is allowed."""

import pytest

from rlagent.config.check import GROUPED, UNSUPPORTED, check
from rlagent.config.schema import LearnConfig
from rlagent.config.spec import spec_of, validate
from rlagent.config.trinity_schema import algorithm_types
from tests.configured import configured


def problems(*overrides: str, **kwargs: bool) -> list[str]:
    return [str(item) for item in check(configured(*overrides), **kwargs)]


def test_the_shipped_experiment_has_no_mistake() -> None:
    assert problems() == []


@pytest.mark.parametrize(
    ("override", "allowed"),
    [
        ("model.temperature=0", "must be above 0"),
        ("model.top_p=1.5", "must be in (0, 1]"),
        ("model.top_p=0", "must be in (0, 1]"),
        ("model.top_k=0", "must be -1 (all tokens) or at least 1"),
        ("model.max_model_len=0", "at least 1"),
        ("model.max_model_len=fast", "must be a number or auto"),
        ("model.dtype=bfloat", "did you mean bfloat16?"),
        ("dataset.path=", "must not be empty"),
        ("dataset.order=shuffel", "did you mean shuffle?"),
        ("dataset.eval_tasks=-1", "at least 0"),
        ("algorithm.lr=0", "must be above 0"),
        ("algorithm.lr=atuo", "did you mean auto?"),
        ("algorithm.batch_size=-4", "at least 1"),
        ("algorithm.total_steps=0", "at least 1"),
        ("algorithm.sync_interval=0", "at least 1"),
        ("algorithm.clip_range=2", "must be in (0, 1)"),
        ("algorithm.lr_schedule=linear", "must be one of constant, cosine"),
        ("algorithm.recompute_old_logprobs=perhaps", "true, false or auto"),
        ("algorithm.name=grpoo", "did you mean grpo?"),
        ("algorithm.name=sft", "learns from given answers"),
        ("algorithm.repeat_times=1", "compares the rollouts of a task"),
        ("hardware.engine=vlm", "did you mean vllm?"),
        ("hardware.gpu_memory_utilization=1.5", "must be in (0, 1)"),
        ("hardware.layout=4by4", "ENGINESxTENSOR_PARALLEL+TRAINER_GPUS"),
        ("monitor.type=wandbb", "did you mean wandb?"),
        ("workflow.timeout=0", "above 0 seconds"),
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


def test_numbers_are_finite() -> None:
    assert validate({"algorithm": {"weight_decay": float("inf")}}, spec_of(LearnConfig))[1]
    assert validate({"model": {"temperature": float("nan")}}, spec_of(LearnConfig))[1]
