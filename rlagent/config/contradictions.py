"""Settings that contradict each other.

Asked twice: of what was written, where `auto` contradicts nothing, and of what `auto` became.
"""

from typing import Any

from rlagent.backends.registry import ENGINES, engine_by_url, engine_named
from rlagent.base.errors import Problem
from rlagent.base.origins import get
from rlagent.base.secrets import HIDDEN
from rlagent.config.algorithms import OF_SUCCESSES
from rlagent.config.lora import lora_contradictions
from rlagent.config.schema import (
    AUTO,
    AlgorithmConfig,
    HardwareConfig,
    LearnConfig,
    ModelConfig,
    SweepConfig,
)


def sweep_without_m(sweep: SweepConfig) -> list[str]:
    """Return what of a sweep's settings asks for many trials, though `-m` was not given.

    Said, not refused: the command of a sweep's single trial holds them too.
    """
    asked = []
    if sweep.sampler != "none":
        asked.append(f"sweep.sampler={sweep.sampler}")
    if sweep.layouts:
        asked.append("sweep.layouts=true")
    return [f"{each} changes nothing without -m: this is one run" for each in asked]


def number_contradictions(config: LearnConfig) -> list[Problem]:
    """Return which lengths, batch sizes, splits and steps contradict each other."""
    problems = []
    model, algorithm = config.model, config.algorithm
    longest, response = model.max_model_len, model.max_response_tokens
    if isinstance(longest, int) and isinstance(response, int) and response >= longest:
        problems.append(
            Problem(
                "model.max_response_tokens",
                response,
                f"leaves no room for a prompt within model.max_model_len={longest}",
                "raise the one or lower the other",
            )
        )
    dataset = config.dataset
    same_place = dataset.eval_path in (None, dataset.path)
    if dataset.eval_split == dataset.split and same_place:
        problems.append(
            Problem(
                "dataset.eval_split",
                dataset.eval_split,
                "is the split that is trained on, so nothing would be held out",
                "take another split, or null for no evaluation",
            )
        )
    per_step = _product(algorithm.batch_size, algorithm.repeat_times)
    fixed = algorithm.train_batch_size
    if isinstance(fixed, int) and per_step and fixed < per_step and per_step % fixed:
        problems.append(
            Problem(
                "algorithm.train_batch_size",
                fixed,
                f"does not divide the {per_step} rollouts of a step "
                f"(batch_size {algorithm.batch_size} x repeat_times {algorithm.repeat_times})",
                "take a divisor, or auto",
            )
        )
    updates = algorithm.updates_per_step
    if per_step and updates > per_step:
        problems.append(
            Problem(
                "algorithm.updates_per_step",
                updates,
                f"is more than the {per_step} rollouts of a step",
                "lower it; algorithm.epochs_per_step goes over them again",
            )
        )
    steps, warmup = algorithm.total_steps, algorithm.lr_warmup_steps
    if isinstance(steps, int) and 0 < steps <= warmup:
        problems.append(
            Problem(
                "algorithm.lr_warmup_steps",
                warmup,
                f"is not below algorithm.total_steps={steps}",
            )
        )
    return problems


def request_contradictions(config: LearnConfig, measures: bool = False) -> list[Problem]:
    """Return what was asked for in two ways at once; only before `auto` is filled.

    Args:
        config: As composed.
        measures: Whether nothing is trained.
    """
    problems = []
    algorithm = config.algorithm
    if isinstance(algorithm.total_steps, int) and algorithm.total_epochs is not None:
        problems.append(
            Problem(
                "algorithm.total_epochs",
                algorithm.total_epochs,
                f"algorithm.total_steps={algorithm.total_steps} already says how long to train",
                "set one of them",
            )
        )
    problems += _of_groups(config) + _of_operators(config) + lora_contradictions(config)
    return problems + _of_engine(config.hardware, config.model, measures)


def _of_groups(config: LearnConfig) -> list[Problem]:
    algorithm = config.algorithm
    wanted, key = algorithm.filter_groups, "algorithm.filter_groups"
    refills = wanted == "refill"
    problems = []
    # A resolved file holds every key: only another value than the default asks for something.
    if algorithm.refill_limit != AlgorithmConfig().refill_limit and not refills:
        message = f"is for filter_groups=refill, not {wanted}"
        remedy = f"set {key}=refill, or leave it out"
        limit = algorithm.refill_limit
        problems.append(Problem("algorithm.refill_limit", limit, message, remedy))
    if wanted != "keep" and algorithm.repeat_times == 1:
        message = "one rollout per task is a group without spread: every one would be left out"
        problems.append(Problem(key, wanted, message, "take algorithm.repeat_times=2 or more"))
    if refills and algorithm.shuffle_rewards:
        message = "looks at the rewards that algorithm.shuffle_rewards=true permutes afterwards"
        problems.append(Problem(key, wanted, message, "take drop, or keep"))
    over = (config.trinity.get("explorer") or {}).get("over_rollout") or {}
    if refills and over.get("ratio"):
        message = "waits for every group, which trinity.explorer.over_rollout gives up"
        problems.append(Problem(key, wanted, message, "set one of the two"))
    return problems


def _of_operators(config: LearnConfig) -> list[Problem]:
    """Keys that are obeyed by operators of Trinity's pipeline, beside a list that replaces them."""
    algorithm, pipeline = config.algorithm, config.trinity.get("data_processor") or {}
    if not (pipeline.get("experience_pipeline") or {}).get("operators"):
        return []
    asked = {
        "algorithm.filter_groups": algorithm.filter_groups != "keep",
        "algorithm.shuffle_rewards": algorithm.shuffle_rewards,
        "algorithm.name": algorithm.name in OF_SUCCESSES,
        "workflow.truncated": config.workflow.truncated == "mask",
        "dataset.order": config.dataset.order == "difficulty",
    }
    message = "would be lost: trinity.data_processor.experience_pipeline.operators takes its place"
    return [
        Problem(key, get(config, key), message, "set one of the two")
        for key, is_asked in asked.items()
        if is_asked
    ]


def _of_engine(hardware: HardwareConfig, model: ModelConfig, measures: bool) -> list[Problem]:
    name = hardware.engine
    if name == AUTO and model.url is not None:
        name = engine_by_url().name
    if name not in ENGINES:
        return []
    engine = engine_named(name)
    asked = (hardware.gpus, hardware.logical_gpus, hardware.name)
    problems = engine.refusals(asked, model.url, model.key_env)
    for key, value in (("model.url", model.url), ("model.key_env", model.key_env)):
        if value is not None and not engine.by_url:
            what = (
                f"is for a model that something else runs, and hardware.engine={name} runs it here"
            )
            problems.append(Problem(key, HIDDEN, what, "leave one of the two out"))
    if engine.by_url and model.name == AUTO:
        remedy = "name it as the endpoint does, such as model.name=gpt-4o-mini"
        problems.append(Problem("model.name", AUTO, "an external model needs a name", remedy))
    if not engine.trainer and not measures:
        remedy = "take a model that runs here, such as model=qwen3_4b"
        problems.append(Problem("hardware.engine", name, engine.no_trainer, remedy))
    return problems


def _product(a: Any, b: Any) -> int | None:
    return a * b if isinstance(a, int) and isinstance(b, int) else None
