"""Checks the settings for Trinity of a configuration: `trinity.*` overrides and native YAMLs.

What becomes of each setting is trinity_table.py's; here are the names and the few settings that
depend on each other. Nothing of Trinity is imported.
"""

from dataclasses import replace
from typing import Any

from rlagent.base.errors import Problem
from rlagent.base.names import did_you_mean
from rlagent.config.algorithms import GROUPED, SUPERVISED, UNSUPPORTED, lone_rollout
from rlagent.config.schema import AUTO, LearnConfig
from rlagent.config.trinity_bounds import bound_problems
from rlagent.config.trinity_fate import look_up
from rlagent.config.trinity_functions import (
    OPERATORS,
    SELECTORS,
    algorithm_defaults,
    arguments_of,
    function_problems,
    name_problem,
    registry,
)
from rlagent.config.trinity_schema import algorithm_types, trinity_spec
from rlagent.config.trinity_table import TABLE


def override_problems(config: LearnConfig, on_cpu: bool | None = None) -> list[Problem]:
    """Return what of `trinity.*`, and of our keys that go to Trinity's functions, has no effect.

    Args:
        config: Ours, composed or resolved.
        on_cpu: Whether the run is on a CPU; None while that is not known.
    """
    spec, given = trinity_spec(), config.trinity
    if spec is None:
        return []
    whole = config.algorithm.train_batch_size == AUTO
    problems = look_up(given, spec, TABLE, "trinity.", on_cpu, whole)[0] if given else []
    known = {problem.key for problem in problems}
    problems += [item for item in bound_problems(given, "trinity.") if item.key not in known]
    if on_cpu is None:
        # Of what was written: a model's recipe may fill in a term that an algorithm has not.
        problems += _functions_of_ours(config) + _names(given, "trinity.")
    return problems


def native_problems(native: dict[str, Any], on_cpu: bool | None = None) -> list[Problem]:
    """Return what of a native YAML has no effect, does not exist or is missing.

    Args:
        native: The YAML as plain data, which fits Trinity's schema.
        on_cpu: As for `override_problems`.
    """
    spec = trinity_spec()
    if spec is None:
        return []
    problems = bound_problems(native, "") + look_up(native, spec, TABLE, "", on_cpu)[0]
    algorithm = _group(native, "algorithm")
    problems += _algorithm(algorithm, on_cpu)
    keys = {name: f"algorithm.{name}" for name in algorithm}
    problems += function_problems(algorithm, keys)
    problems += _names(native, "") + _lengths(_group(native, "model")) + _tasksets(native)
    return list({problem.key: problem for problem in reversed(problems)}.values())[::-1]


def set_aside(native: dict[str, Any]) -> list[str]:
    """Return the keys of a native YAML that a run on a CPU has no use for."""
    spec = trinity_spec()
    return look_up(native, spec, TABLE, "", on_cpu=True)[1] if spec else []


_OF_NATIVE = {
    "hardware.gpus": ("cluster.gpu_per_node", "set 0 to run on the CPU, or the GPUs of a node"),
    "hardware.engine": ("cluster.gpu_per_node", "set 0 to run on the CPU, or the GPUs of a node"),
    "hardware.nodes": ("cluster.node_num", ""),
    "model.path": ("model.model_path", ""),
    "dataset.path": ("buffer.explorer_input.taskset.path", ""),
}
"""Keys of ours by which a native YAML is refused, each as the YAML has it, with another remedy."""


def as_in_native(problems: list[Problem]) -> list[Problem]:
    """Return problems with the keys of a native YAML in place of ours."""
    renamed = []
    for problem in problems:
        key, remedy = _OF_NATIVE.get(problem.key, (problem.key, ""))
        renamed.append(replace(problem, key=key, remedy=remedy or problem.remedy))
    return renamed


def _functions_of_ours(config: LearnConfig) -> list[Problem]:
    ours, theirs = config.algorithm, _group(config.trinity, "algorithm")
    terms = (ours.clip_range, ours.kl_coef, ours.entropy_coef)
    if not (theirs or ours.policy_loss_args or ours.advantage_args or any(terms)):
        # Nothing was written, so nothing is read.
        return []
    algorithm = {"algorithm_type": ours.name, **theirs}
    problems = function_problems(algorithm, {name: f"trinity.algorithm.{name}" for name in theirs})
    for field, key, given in (
        ("policy_loss_fn", "algorithm.policy_loss_args", ours.policy_loss_args),
        ("advantage_fn", "algorithm.advantage_args", ours.advantage_args),
    ):
        if given:
            problems += function_problems(
                {**algorithm, f"{field}_args": dict(given)}, {f"{field}_args": key}
            )
    loss = algorithm.get("policy_loss_fn") or algorithm_defaults(ours.name).get("policy_loss_fn")
    # A class of the user's own, named by its dotted path, takes what it likes.
    known = registry("algorithm/policy_loss_fn").get(str(loss))
    taken = arguments_of(known) if known else None
    if ours.clip_range is not None and taken is not None and "clip_range" not in taken:
        problems.append(
            Problem(
                "algorithm.clip_range",
                ours.clip_range,
                f"the loss of {ours.name} takes {', '.join(taken)}",
                "set these with algorithm.policy_loss_args, or leave it out",
            )
        )
    for key, value, field in (
        ("kl_coef", ours.kl_coef, "kl_loss_fn"),
        ("entropy_coef", ours.entropy_coef, "entropy_loss_fn"),
    ):
        chosen = algorithm.get(field) or algorithm_defaults(ours.name).get(field)
        if value and chosen == "none":
            other = "low_var_kl" if key == "kl_coef" else "default"
            problems.append(
                Problem(
                    f"algorithm.{key}",
                    value,
                    f"{ours.name} has no such term (its {field} is none)",
                    f"add trinity.algorithm.{field}={other}, or leave it out",
                )
            )
    return problems


def _algorithm(algorithm: dict[str, Any], on_cpu: bool | None) -> list[Problem]:
    key, name = "algorithm.algorithm_type", algorithm.get("algorithm_type", "ppo")
    known = algorithm_types()
    if known and name not in known:
        shown = [item for item in known if item not in (*UNSUPPORTED, *SUPERVISED)]
        allowed = f"is no algorithm of Trinity; there are {', '.join(shown)}"
        return [Problem(key, name, allowed, did_you_mean(name, shown))]
    if name in SUPERVISED:
        what = "learns from given conversations, which a native YAML cannot train on here"
        remedy = f"python -m rlagent.train algorithm={name} dataset=conversations dataset.path=FILE"
        return [Problem(key, name, what, remedy)]
    # verl has a critic.
    if name in UNSUPPORTED and (name != "ppo" or on_cpu):
        return [Problem(key, name, f"{UNSUPPORTED[name]}, so it cannot run here")]
    if name in GROUPED and algorithm.get("repeat_times", 1) == 1:
        return [lone_rollout(name)]
    return []


def _names(tree: dict[str, Any], prefix: str) -> list[Problem]:
    """Return which selectors and operators Trinity does not have."""
    problems = []
    explorer_input = _group(_group(tree, "buffer"), "explorer_input")
    for place, taskset in _all_tasksets(explorer_input):
        for field in ("data_selector", "task_selector"):
            chosen = _group(taskset, field).get("selector_type")
            key = f"{prefix}buffer.explorer_input.{place}.{field}.selector_type"
            problems += name_problem(key, chosen, SELECTORS, "selector")
    pipeline = _group(_group(tree, "data_processor"), "experience_pipeline")
    for index, operator in enumerate(pipeline.get("operators") or []):
        key = f"{prefix}data_processor.experience_pipeline.operators.{index}.name"
        name = operator.get("name") if isinstance(operator, dict) else None
        problems += name_problem(key, name, OPERATORS, "operator")
        if name == "data_juicer":
            problems.append(Problem(key, name, "no run starts or asks a Data-Juicer server"))
    return problems


def _lengths(model: dict[str, Any]) -> list[Problem]:
    longest, prompt, response = (
        model.get(f"max_{name}") for name in ("model_len", "prompt_tokens", "response_tokens")
    )
    if longest is None and (prompt is None or response is None):
        what = "is missing, and so is what it would follow from"
        return [Problem("model.max_model_len", None, what, "set the most tokens of a conversation")]
    if longest is None or prompt is None or response is None or prompt + response == longest:
        return []
    return [
        Problem(
            "model.max_prompt_tokens",
            prompt,
            f"means nothing beside model.max_model_len={longest}: a prompt may have what the "
            "response leaves",
            "leave one of the two out",
        )
    ]


def _tasksets(native: dict[str, Any]) -> list[Problem]:
    explorer_input = _group(_group(native, "buffer"), "explorer_input")
    one, several = explorer_input.get("taskset"), explorer_input.get("tasksets")
    key = "buffer.explorer_input.taskset"
    if one and several:
        return [Problem(key, None, "stands beside tasksets", "keep one of the two")]
    if not one and not several:
        return [Problem(f"{key}.path", None, "is missing: there is nothing to train on")]
    return [
        Problem(f"buffer.explorer_input.{place}.path", None, "is missing", "name folder or hub id")
        for place, taskset in _all_tasksets(explorer_input)
        if not taskset.get("path")
    ]


def _all_tasksets(explorer_input: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    found = [("taskset", explorer_input.get("taskset"))]
    for name in ("tasksets", "eval_tasksets"):
        listed = explorer_input.get(name)
        for index, taskset in enumerate(listed if isinstance(listed, list) else []):
            found.append((f"{name}.{index}", taskset))
    return [(place, taskset) for place, taskset in found if isinstance(taskset, dict)]


def _group(tree: dict[str, Any], name: str) -> dict[str, Any]:
    found = tree.get(name)
    return found if isinstance(found, dict) else {}
