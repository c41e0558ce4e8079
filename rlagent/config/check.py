"""What a configuration may hold: ranges, contradictions and user functions, all at once.

Types and unknown keys are compose.py's; what needs the machine or resolved values is
resolve.py's. Nothing here imports user code.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from rlagent.config.algorithms import AGGREGATIONS, GROUPED, UNSUPPORTED
from rlagent.config.contradictions import number_contradictions, request_contradictions
from rlagent.config.errors import Problem, raise_if_any
from rlagent.config.functions import (
    JUDGE_ARGUMENTS,
    JUDGE_OPTIONAL,
    WORKFLOW_ARGUMENTS,
    WORKFLOW_OPTIONAL,
    check_function,
)
from rlagent.config.metric_names import metric_problems
from rlagent.config.names import did_you_mean
from rlagent.config.schema import AUTO, LearnConfig
from rlagent.config.secrets import secret_problems
from rlagent.config.spec import Spec, spec_of, validate
from rlagent.config.trinity_schema import algorithm_types, check_trinity
from rlagent.layout.layout import Layout, refusals

LEGAL_LAYOUT = "hardware.layout=auto alone chooses a legal one"
LAYOUT_PARTS = ("engines", "tensor_parallel", "trainer_gpus", "sequence_parallel")

_Test = Callable[[Any], bool]


def _positive(value: Any) -> bool:
    return value > 0


def _not_negative(value: Any) -> bool:
    return value >= 0


# Key, test of a value that is neither auto nor null, what is allowed.
_RANGES: list[tuple[str, _Test, str]] = [
    # What numpy and torch both take as a seed.
    ("seed", lambda v: 0 <= v < 2**32, "must be at least 0 and below 4294967296"),
    ("model.max_model_len", _positive, "must be at least 1"),
    ("model.max_response_tokens", _positive, "must be at least 1"),
    ("model.temperature", _positive, "must be above 0"),
    ("model.top_p", lambda v: 0 < v <= 1, "must be in (0, 1]"),
    ("model.top_k", lambda v: v == -1 or v >= 1, "must be -1 (all tokens) or at least 1"),
    ("model.recipe.lr", _positive, "must be above 0"),
    ("dataset.eval_tasks", _not_negative, "must be at least 0 (0: all)"),
    ("algorithm.lr", lambda v: 0 < v < 1, "must be above 0 and below 1"),
    ("algorithm.total_steps", _positive, "must be at least 1"),
    ("algorithm.batch_size", _positive, "must be at least 1"),
    ("algorithm.repeat_times", _positive, "must be at least 1"),
    ("algorithm.eval_interval", _not_negative, "must be at least 0 (0: before and after only)"),
    ("algorithm.total_epochs", _positive, "must be at least 1"),
    ("algorithm.train_batch_size", _positive, "must be at least 1"),
    ("algorithm.max_lag", _not_negative, "must be at least 0 (0: on-policy)"),
    ("algorithm.sync_interval", _positive, "must be at least 1"),
    ("algorithm.save_interval", _positive, "must be at least 1"),
    ("algorithm.keep_checkpoints", _not_negative, "must be at least 0 (0: all)"),
    ("algorithm.clip_range", lambda v: 0 < v < 1, "must be in (0, 1)"),
    ("algorithm.kl_coef", _not_negative, "must be at least 0"),
    ("algorithm.entropy_coef", _not_negative, "must be at least 0"),
    ("algorithm.lr_warmup_steps", _not_negative, "must be at least 0"),
    ("algorithm.weight_decay", _not_negative, "must be at least 0"),
    ("algorithm.grad_clip", _positive, "must be above 0"),
    ("hardware.gpus", _not_negative, "must be at least 0"),
    ("hardware.nodes", _positive, "must be at least 1"),
    ("hardware.engines", _positive, "must be at least 1"),
    ("hardware.tensor_parallel", _positive, "must be at least 1"),
    ("hardware.trainer_gpus", _positive, "must be at least 1"),
    ("hardware.sequence_parallel", _positive, "must be at least 1"),
    ("hardware.logical_gpus", _not_negative, "must be at least 0"),
    ("hardware.threads", _positive, "must be at least 1"),
    ("hardware.runners", _positive, "must be at least 1"),
    ("hardware.gpu_memory_utilization", lambda v: 0 < v < 1, "must be in (0, 1)"),
    ("workflow.timeout", _positive, "must be above 0 seconds"),
    ("run.stall_timeout", _positive, "must be above 0 seconds"),
    ("run.trajectories_per_step", _not_negative, "must be at least 0"),
    ("sweep.max_parallel", _positive, "must be at least 1"),
    ("sweep.max_trials", _not_negative, "must be at least 0 (0: all)"),
    ("sweep.retries", _not_negative, "must be at least 0"),
    ("sweep.memory_gib", _positive, "must be above 0 GiB"),
    ("sweep.n_trials", _positive, "must be at least 1"),
    ("sweep.seed", _not_negative, "must be at least 0"),
    ("sweep.startup_trials", _not_negative, "must be at least 0"),
    ("sweep.prune_after", _not_negative, "must be at least 0 steps (0: algorithm.eval_interval)"),
    ("sweep.reduction_factor", lambda value: value >= 2, "must be at least 2"),
]

_CHOICES: dict[str, tuple[str, ...]] = {
    "model.dtype": ("bfloat16", "float16", "float32"),
    "model.tool_choice": (AUTO, "as_asked", "free"),
    "dataset.order": ("sequential", "shuffle", "random"),
    "algorithm.lr_schedule": ("constant", "cosine"),
    "algorithm.loss_agg_mode": AGGREGATIONS,
    "hardware.engine": (AUTO, "embedded", "vllm"),
    "hardware.attention": (AUTO, "flash_attention_2", "packed", "sdpa"),
    "monitor.type": ("wandb", "tensorboard", "local"),
    "monitor.mode": (AUTO, "online", "offline"),
    "run.display": (AUTO, "live", "plain", "none"),
    "sweep.direction": ("maximize", "minimize"),
    "sweep.on_failure": ("continue", "stop"),
    "sweep.sampler": ("none", "tpe", "random", "grid", "cmaes"),
    "sweep.pruner": ("none", "asha", "hyperband", "median"),
}

_NOT_EMPTY = {
    "model.path": "give a hub id, a folder, or auto",
    "dataset.path": "give a hub id, a folder, or auto",
    "run.dir": "give a folder, such as outputs, or . for this one",
    "sweep.metric": "name a metric, such as eval/success",
}

# Keys typed number-or-text: text other than `auto` is a mistake that no type catches.
_AUTO_KEYS = (
    "model.max_model_len",
    "model.max_response_tokens",
    "algorithm.lr",
    "algorithm.total_steps",
    "algorithm.batch_size",
    "algorithm.repeat_times",
    "algorithm.train_batch_size",
    "algorithm.sync_interval",
    "algorithm.save_interval",
    "algorithm.recompute_old_logprobs",
    "hardware.gpus",
    "hardware.nodes",
    "hardware.offload",
    "hardware.threads",
    "hardware.runners",
    "hardware.gpu_memory_utilization",
    "sweep.max_parallel",
    "sweep.n_trials",
    "sweep.memory_gib",
)


def get(config: LearnConfig, key: str) -> Any:
    """Return the value at a dotted key of groups and fields."""
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def check(config: LearnConfig, workflow_given: bool = False) -> list[Problem]:
    """Return every mistake that can be known without the machine and without resolved values.

    Args:
        config: The composed configuration; may hold `auto`.
        workflow_given: Whether the workflow is passed as a function, so that
            workflow.function may be empty.
    """
    if getattr(config, "native", None):
        # A native YAML is checked against Trinity's schema on reading; the rest is Trinity's.
        return _functions(config, workflow_given) + secret_problems(getattr(config, "native", None))
    wrong_types = validate(dataclasses.asdict(config), _spec())[1]
    if wrong_types:
        # Made in Python rather than composed; ranges of wrong types mean nothing.
        return wrong_types
    problems = value_problems(config)
    wrong = {problem.key for problem in problems}
    found = number_contradictions(config) + request_contradictions(config)
    problems += [problem for problem in found if problem.key not in wrong]
    problems += algorithm_problems(config)
    problems += _layout(config, wrong)
    problems += _functions(config, workflow_given)
    if "sweep.metric" not in wrong:
        problems += metric_problems(config, workflow_given)
    problems += check_trinity(config.trinity)
    problems += _names(config)
    problems += secret_problems(dataclasses.asdict(config))
    return problems


def check_or_raise(config: LearnConfig, workflow_given: bool = False) -> None:
    """Raise ConfigError with every mistake; arguments as for `check`."""
    raise_if_any(check(config, workflow_given))


@functools.cache
def _spec() -> Spec:
    return spec_of(LearnConfig)


def value_problems(config: LearnConfig) -> list[Problem]:
    """Return which single values are out of range or not among the choices."""
    problems = []
    for key in _AUTO_KEYS:
        value = get(config, key)
        if isinstance(value, str) and value != AUTO:
            allowed = (
                "true, false or auto"
                if key.endswith(("offload", "probs"))
                else ("a number or auto")
            )
            remedy = did_you_mean(value, [AUTO])
            problems.append(Problem(key, value, f"must be {allowed}", remedy))
    for key, test, message in _RANGES:
        value = get(config, key)
        if value is not None and not isinstance(value, str) and not test(value):
            problems.append(Problem(key, value, message))
    for key, remedy in _NOT_EMPTY.items():
        if not get(config, key).strip():
            problems.append(Problem(key, "", "must not be empty", remedy))
    for key, choices in _CHOICES.items():
        value = get(config, key)
        if value is not None and value not in choices:
            allowed = f"must be one of {', '.join(choices)}"
            problems.append(Problem(key, value, allowed, did_you_mean(str(value), choices)))
    return problems


def algorithm_problems(config: LearnConfig) -> list[Problem]:
    """Return why the algorithm cannot run, by its name or for too few rollouts of a task."""
    name = config.algorithm.name
    known = algorithm_types()
    if known and name not in known:
        shown = [item for item in known if item not in UNSUPPORTED]
        allowed = f"is no algorithm of Trinity; there are {', '.join(shown)}"
        return [Problem("algorithm.name", name, allowed, did_you_mean(name, shown))]
    if name in UNSUPPORTED:
        return [Problem("algorithm.name", name, f"{UNSUPPORTED[name]}, so it cannot run here")]
    if name in GROUPED and config.algorithm.repeat_times == 1:
        return [
            Problem(
                "algorithm.repeat_times",
                1,
                f"{name} compares the rollouts of a task, one alone has nothing to learn from",
                "take at least 2",
            )
        ]
    return []


def requested_layout(config: LearnConfig) -> Layout | None:
    """Return the layout that the configuration asks for, None when any of it is left to `auto`.

    Raises:
        ValueError: When `hardware.layout` cannot be read.
    """
    hardware = config.hardware
    if hardware.layout != AUTO:
        return Layout.parse(hardware.layout)
    if hardware.engines is None or hardware.trainer_gpus is None:
        return None
    return Layout(
        engines=hardware.engines,
        tensor_parallel=hardware.tensor_parallel or 1,
        trainer_gpus=hardware.trainer_gpus,
        sequence_parallel=hardware.sequence_parallel or 1,
    )


def requested_parts(config: LearnConfig) -> dict[str, int]:
    """Return the fields of a layout that are set by themselves."""
    found = {name: getattr(config.hardware, name) for name in LAYOUT_PARTS}
    return {name: value for name, value in found.items() if value is not None}


def _layout(config: LearnConfig, wrong: set[str]) -> list[Problem]:
    hardware = config.hardware
    try:
        layout = requested_layout(config)
    except ValueError as error:
        return [Problem("hardware.layout", hardware.layout, str(error))]
    if layout is None:
        return []
    problems = []
    if hardware.layout != AUTO:
        for name, value in requested_parts(config).items():
            if value != getattr(layout, name):
                problems.append(
                    Problem(
                        f"hardware.{name}",
                        value,
                        f"hardware.layout={layout} says {getattr(layout, name)}",
                        "set one of the two",
                    )
                )
    gpus, nodes = hardware.gpus, hardware.nodes
    if hardware.logical_gpus:
        gpus, nodes = hardware.logical_gpus, 1
    if isinstance(gpus, int) and gpus > 0 and not {"hardware.gpus", "hardware.nodes"} & wrong:
        shape = config.model.shape
        for reason in refusals(layout, gpus, nodes if isinstance(nodes, int) else 1, shape):
            problems.append(Problem("hardware.layout", str(layout), reason, LEGAL_LAYOUT))
    return problems


def _functions(config: LearnConfig, workflow_given: bool) -> list[Problem]:
    problems = []
    workflow = config.workflow
    if workflow.function and not workflow_given:
        problems += check_function(
            "workflow.function",
            workflow.function,
            WORKFLOW_ARGUMENTS,
            WORKFLOW_OPTIONAL,
            given=list(workflow.args),
        )
    elif not workflow_given:
        problems.append(
            Problem(
                "workflow.function",
                None,
                "no workflow is chosen",
                "add +experiment=gsm8k_react, or workflow.function=module:function",
            )
        )
    if workflow.judge:
        problems += check_function(
            "workflow.judge", workflow.judge, JUDGE_ARGUMENTS, JUDGE_OPTIONAL
        )
    return problems


def _names(config: LearnConfig) -> list[Problem]:
    problems = []
    name = config.run.name
    if not name or name != name.strip() or any(sign in name for sign in "/\\\0") or name in "..":
        problems.append(
            Problem("run.name", name, "must be a plain folder name, without / and not empty")
        )
    seen = set()
    for index, auxiliary in enumerate(config.workflow.auxiliary_models):
        key = f"workflow.auxiliary_models.{index}"
        if not auxiliary.name or not auxiliary.path:
            problems.append(Problem(key, None, "needs both name and path"))
        if auxiliary.name in seen:
            problems.append(Problem(f"{key}.name", auxiliary.name, "is used twice"))
        seen.add(auxiliary.name)
        if auxiliary.engines < 1 or auxiliary.tensor_parallel < 1:
            problems.append(Problem(key, None, "engines and tensor_parallel must be at least 1"))
    return problems
