"""What a configuration may hold: ranges, contradictions and user functions, all at once.

Types and unknown keys are compose.py's; what needs the machine or resolved values is
resolve.py's. Nothing here imports user code.
"""

import dataclasses
import functools
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from rlagent.base.errors import Problem
from rlagent.base.names import did_you_mean
from rlagent.base.secrets import HIDDEN, NATIVE_PLACE, secret_problems
from rlagent.config.algorithms import GROUPED, UNSUPPORTED, lone_rollout, reward_problems
from rlagent.config.contradictions import number_contradictions, request_contradictions
from rlagent.config.functions import (
    JUDGE_ARGUMENTS,
    JUDGE_OPTIONAL,
    WORKFLOW_ARGUMENTS,
    WORKFLOW_OPTIONAL,
    check_function,
)
from rlagent.config.metric_names import metric_problems
from rlagent.config.mix import mix_problems, parts_of
from rlagent.config.row_checks import row_problems
from rlagent.config.schema import AUTO, LearnConfig
from rlagent.config.spec import Spec, spec_of, validate
from rlagent.config.supervised import is_supervised, supervised_problems
from rlagent.config.trinity_checks import native_problems, override_problems
from rlagent.config.trinity_schema import algorithm_types, check_trinity
from rlagent.config.wandb_names import project_fault, tags_fault
from rlagent.planner.layout import Layout, refusals

LEGAL_LAYOUT = "hardware.layout=auto alone chooses a legal one"
LAYOUT_PARTS = ("engines", "tensor_parallel", "trainer_gpus", "sequence_parallel")


def check(
    config: LearnConfig,
    workflow_given: bool = False,
    judge_given: bool = False,
    measures: bool = False,
) -> list[Problem]:
    """Return every mistake that can be known without the machine and without resolved values.

    Args:
        config: The composed configuration; may hold `auto`.
        workflow_given: Whether the workflow is passed as a function, so that
            workflow.function may be empty.
        judge_given: Whether the judge is passed as a function.
        measures: Whether nothing is trained.
    """
    native = getattr(config, "native", None)
    if native:
        # Its types and unknown keys were checked on reading.
        found = native_problems(native) + _functions(config, workflow_given, judge_given)
        return found + secret_problems(native, NATIVE_PLACE)
    wrong_types = validate(dataclasses.asdict(config), _spec())[1]
    if wrong_types:
        # Made in Python rather than composed; ranges of wrong types mean nothing.
        return wrong_types
    problems = value_problems(config)
    wrong = {problem.key for problem in problems}
    found = number_contradictions(config) + request_contradictions(config, measures)
    problems += [problem for problem in found if problem.key not in wrong]
    problems += [problem for problem in mix_problems(config) if problem.key not in wrong]
    problems += [item for part in parts_of(config.dataset) for item in row_problems(part)]
    problems += algorithm_problems(config)
    if not measures:
        problems += [item for item in supervised_problems(config) if item.key not in wrong]
    problems += _layout(config, wrong)
    # Without tasks a run on conversations measures no success, and needs no workflow.
    if measures or not is_supervised(config) or config.evaluate.dataset:
        problems += _functions(config, workflow_given, judge_given)
    if "sweep.metric" not in wrong:
        problems += metric_problems(config, workflow_given)
    found = check_trinity(config.trinity)
    problems += found or override_problems(config)
    problems += _names(config)
    found = secret_problems(dataclasses.asdict(config))
    # What hides its value refuses it as a secret already, with a remedy of its own.
    said = {problem.key for problem in problems if problem.value == HIDDEN}
    problems += [problem for problem in found if problem.key not in said]
    return problems


@functools.cache
def _spec() -> Spec:
    return spec_of(LearnConfig)


def value_problems(config: LearnConfig) -> list[Problem]:
    """Return which single values are out of range or not among the choices."""
    return list(_value_problems(config, _spec(), ""))


def _value_problems(value: Any, spec: Spec, key: str) -> Iterator[Problem]:
    if spec.kind == "struct":
        for name, child in spec.fields.items():
            yield from _value_problems(getattr(value, name), child, f"{key}.{name}".lstrip("."))
    elif spec.kind == "list" and spec.item is not None:
        for index, item in enumerate(value):
            yield from _value_problems(item, spec.item, f"{key}.{index}")
    elif isinstance(value, str) and len(spec.types) > 1:
        # Typed number-or-text: text other than `auto` is a mistake that no type catches.
        if value != AUTO:
            allowed = "true, false or auto" if "bool" in spec.types else "a number or auto"
            yield Problem(key, value, f"must be {allowed}", did_you_mean(value, [AUTO]))
    elif spec.limits is not None and value is not None:
        problem = spec.limits.problem(key, value)
        if problem is not None:
            yield problem


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
    algorithm = config.algorithm
    problems = reward_problems(
        name, algorithm.group_by, algorithm.discount, algorithm.advantage_args
    )
    if name in GROUPED and algorithm.repeat_times == 1:
        return [lone_rollout(name), *problems]
    return problems


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
    if not layout.trainer_gpus:
        return problems
    if isinstance(gpus, int) and gpus > 0 and not {"hardware.gpus", "hardware.nodes"} & wrong:
        shape = config.model.shape
        for reason in refusals(layout, gpus, nodes if isinstance(nodes, int) else 1, shape):
            problems.append(Problem("hardware.layout", str(layout), reason, LEGAL_LAYOUT))
    return problems


_BY_HAND = {"openenv": "pip install --no-deps openenv-core==0.3.0"}
"""Of packages that ask for others which contradict what is installed here, and do without them."""


def _functions(config: LearnConfig, workflow_given: bool, judge_given: bool) -> list[Problem]:
    problems = []
    workflow = config.workflow
    if workflow.function and not workflow_given:
        problems += check_function(
            "workflow.function",
            workflow.function,
            WORKFLOW_ARGUMENTS,
            WORKFLOW_OPTIONAL,
            given=list(workflow.args),
            reaches_model=True,
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
    # Their specs are looked up, which imports nothing.
    missing = [name for name in workflow.packages if find_spec(name.partition(".")[0]) is None]
    by_hand = [_BY_HAND[name] for name in missing if name in _BY_HAND]
    if missing:
        problems.append(
            Problem(
                "workflow.packages",
                workflow.packages,
                f"not installed: {', '.join(missing)}",
                " and ".join(["pip install 'rlagent[experiments]'", *by_hand])
                + " has those of the shipped experiments",
            )
        )
    for index, reference in enumerate(workflow.requires):
        problems += check_function(f"workflow.requires.{index}", reference, ())
    if workflow.judge and not judge_given:
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
    if fault := project_fault(config.monitor.project):
        problems.append(Problem("monitor.project", config.monitor.project, *fault))
    if wrong := tags_fault(config.monitor.tags):
        problems.append(Problem("monitor.tags", config.monitor.tags, wrong))
    seen = set()
    for index, auxiliary in enumerate(config.workflow.auxiliary_models):
        key = f"workflow.auxiliary_models.{index}"
        if not auxiliary.name or not auxiliary.path:
            problems.append(Problem(key, None, "needs both name and path"))
        if auxiliary.name in seen:
            problems.append(Problem(f"{key}.name", auxiliary.name, "is used twice"))
        seen.add(auxiliary.name)
    return problems
