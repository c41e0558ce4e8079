"""Every key of ours changes what Trinity is given, or is listed with where it counts."""

import copy
import functools
from collections.abc import Iterator
from typing import Any

import pytest

from rlagent.base.errors import ConfigError
from rlagent.config.compose import SPEC
from rlagent.config.resolve import resolve
from rlagent.config.schema import AuxiliaryModel, LearnConfig, MixedTasks
from rlagent.config.spec import Spec
from rlagent.machine.resources import GPU, Machine
from rlagent.trinity.translate import to_trinity
from tests.configured import configured

MACHINES = (
    (Machine((), 2, 24), ("hardware=cpu",)),
    (
        Machine((GPU("NVIDIA H100 80GB HBM3", 80),) * 4, 64, 1024),
        ("hardware=4gpu", "model=qwen3_0_6b"),
    ),
)

ELSEWHERE = {
    "algorithm.keep_best": "with evaluations between (test_checkpoint_names.py)",
    "checkpoint": "what is measured of a run (test_evaluate_command.py)",
    "evaluate.tasks": "likewise",
    "evaluate.name": "likewise",
    "evaluate.fresh": "likewise",
    "evaluate.dataset": "of runs on conversations (test_supervised.py)",
    "model.name": "shown, and in the records",
    "model.url": "what an external engine asks (test_external.py)",
    "model.key_env": "where an external engine reads its key (test_external.py)",
    "model.lora.alpha": "where an adapter is trained (test_lora_chosen.py)",
    "model.lora.dropout": "likewise",
    "model.lora.target_modules": "likewise",
    "model.recipe.lora_lr": "likewise",
    "model.candidates": "where no model is chosen (test_resolve.py)",
    "model.warm_start": "what is trained first (test_warm_start.py)",
    "model.warm_start_data": "likewise",
    "model.warm_start_overrides": "likewise",
    "model.shape.layers": "the estimates, without a config.json (test_layout_memory.py)",
    "model.shape.intermediate": "likewise",
    "model.shape.heads": "likewise",
    "model.shape.kv_heads": "likewise",
    "model.shape.head_dim": "likewise",
    "model.shape.tied": "likewise",
    "dataset.name": "shown, and in the records",
    "dataset.eval_path": "the tasks in the run folder (test_kept_tasks.py)",
    "dataset.eval_tasks": "the tasks in the run folder (test_kept_tasks.py)",
    "dataset.columns": "the check of every row (test_kept_tasks.py)",
    "dataset.args": "rows that a function makes (test_row_view.py)",
    "algorithm.off_policy_max": "where samples are weighted (test_off_policy_chosen.py)",
    "algorithm.off_policy_min": "likewise, with mis",
    "algorithm.allow_uncorrected_lag": "what is refused without it",
    "algorithm.skip_limit": "the driver, as it watches the trainer (test_warnings.py)",
    "algorithm.refill_limit": "filter_groups=refill alone (test_groups.py)",
    "dataset.weight": "where others are mixed in (test_mix.py)",
    "workflow.concurrency": "the scheduler's slots (test_environments_configured.py)",
    "workflow.packages": "the check of a command (test_environments_configured.py)",
    "workflow.requires": "before Ray starts (test_requirements.py)",
    "hardware.name": "shown",
    "hardware.gpu": "the estimates (test_resolve.py)",
    "hardware.nodes": "a cluster of several nodes (test_several_nodes.py)",
    "hardware.ray": "connecting to Ray (test_ray_cluster.py)",
    "hardware.runners": "the processes for agent code (test_rollout_scheduling.py)",
}
"""Keys that no Trinity is told of, and where they count."""

OWN_TESTS = ("run", "monitor", "sweep", "trinity")
"""Groups for the folder, the mirror and the launcher, and Trinity's own settings."""

VALUES: dict[str, list[Any]] = {
    "model.max_model_len": [768],
    "model.chat_template": ["builtin:chatml_tools.jinja"],
    "model.recipe.max_model_len": [768],
    "dataset.eval_split": [None],
    "algorithm.name": ["rloo"],
    "algorithm.advantage_args": [{"epsilon": 0.1}],
    "algorithm.policy_loss_args": [{"clip_range_low": 0.1}],
    "dataset.map": [{"question": "prompt"}],
    "dataset.mix": [[MixedTasks("more", "builtin:gsm8k_tiny")]],
    "hardware.layout": ["1x1+3"],
    "workflow.auxiliary_models": [[AuxiliaryModel("judge", "builtin:tiny")]],
}
"""Values for keys that take few."""


def keys(spec: Spec, prefix: str = "") -> Iterator[tuple[str, Spec]]:
    for name, child in spec.fields.items():
        if child.kind == "struct":
            yield from keys(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child


KEYS = {key: spec for key, spec in keys(SPEC) if key.split(".")[0] not in OWN_TESTS}


def values(key: str, spec: Spec) -> list[Any]:
    found = list(VALUES.get(key, spec.limits.choices if spec.limits else ()))
    found += [True, False] if "bool" in spec.types else []
    found += [1, 2, 3, 4, 8] if "int" in spec.types else []
    found += [0.5, 0.01] if "float" in spec.types else []
    found += ["other"] if spec.types == ("str",) and not found else []
    return [{"a": 1}] if spec.kind == "dict" and not found else found


def given(config: LearnConfig, machine: Machine) -> dict[str, Any] | None:
    try:
        return to_trinity(resolve(config, machine), "/runs/run-1")
    except ConfigError:
        return None


@functools.cache
def bases() -> list[tuple[LearnConfig, Machine, Any]]:
    made = [(configured(*overrides), machine) for machine, overrides in MACHINES]
    return [(config, machine, given(config, machine)) for config, machine in made]


def changes_something(key: str, spec: Spec) -> bool:
    *path, last = key.split(".")
    for base, machine, before in bases():
        for value in values(key, spec):
            config = copy.deepcopy(base)
            section = functools.reduce(getattr, path, config)
            setattr(section, last, value)
            after = given(config, machine)
            if after is not None and after != before:
                return True
    return False


@pytest.mark.parametrize("key", KEYS)
def test_a_key_changes_what_trinity_is_given_or_is_listed_with_where_it_counts(key: str) -> None:
    assert changes_something(key, KEYS[key]) is (key not in ELSEWHERE)
