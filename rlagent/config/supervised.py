"""What differs where a run learns from given conversations (`algorithm=sft`): which settings mean
something then, and what `auto` becomes.
"""

from collections.abc import Sequence
from typing import Any

from rlagent.base.errors import Problem
from rlagent.base.origins import get
from rlagent.config.algorithms import SUPERVISED
from rlagent.config.presets import dataset_preset, preset_names
from rlagent.config.schema import AUTO, DatasetConfig, LearnConfig

MESSAGES = "messages"
"""The column of a conversation."""

EPOCHS = 3
"""Passes over the conversations where nothing says how long to train."""

RATE = 10.0
"""Times the recipe's learning rate, which is for reinforcement."""

_OF_ROLLOUTS: dict[str, tuple[Any, ...]] = {
    "algorithm.repeat_times": (AUTO, 1),
    "algorithm.train_batch_size": (AUTO,),
    "algorithm.max_lag": (0,),
    "algorithm.sync_interval": (AUTO, 1),
    "algorithm.recompute_old_logprobs": (AUTO, True),
    "algorithm.off_policy": (AUTO, "none"),
    "algorithm.off_policy_min": (None,),
    "algorithm.allow_uncorrected_lag": (False,),
    "algorithm.clip_range": (None,),
    "algorithm.kl_coef": (None,),
    "algorithm.entropy_coef": (None,),
    "algorithm.advantage_args": ({},),
    "algorithm.filter_groups": ("keep",),
    "algorithm.shuffle_rewards": (False,),
    "dataset.mix": ([],),
    "hardware.engines": (None,),
    "hardware.tensor_parallel": (None,),
    "hardware.logical_gpus": (0,),
    "run.preflight": (AUTO, False),
}
"""Settings that only rollouts give a meaning, with the values that ask for nothing."""


def is_supervised(config: LearnConfig) -> bool:
    """Whether the run learns from given conversations."""
    return config.algorithm.name in SUPERVISED


def tasks_of(config: LearnConfig, config_dirs: Sequence[str] = ()) -> DatasetConfig:
    """Return the tasks by which a run on conversations measures held-out success."""
    place = str(config.evaluate.dataset)
    if place in preset_names("dataset", config_dirs):
        tasks = dataset_preset(place, config_dirs)
    else:
        name = place.rstrip("/").rsplit("/", 1)[-1]
        tasks = DatasetConfig(name=name, path=place, eval_path=place, columns=[])
    tasks.eval_tasks = config.dataset.eval_tasks
    return tasks


def supervised_problems(config: LearnConfig) -> list[Problem]:
    """Return which settings mean nothing to a run on conversations, or that it is on none."""
    tasks = config.evaluate.dataset
    if not is_supervised(config):
        what, remedy = "is for runs on conversations", "training has dataset.eval_path"
        return [Problem("evaluate.dataset", tasks, what, remedy)] if tasks else []
    name = config.algorithm.name
    problems = [
        Problem(
            key, get(config, key), f"is for rollouts, and {name} learns without any", "leave it out"
        )
        for key, nothing in _OF_ROLLOUTS.items()
        if get(config, key) not in nothing
    ]
    if config.workflow.function and not tasks:
        what = f"measures held-out success with {name}, and of which tasks is not said"
        remedy = "add evaluate.dataset=gsm8k_tiny, or a path of your own, or leave it out"
        problems.append(Problem("workflow.function", config.workflow.function, what, remedy))
    dataset = config.dataset
    if dataset.order == "difficulty":
        what = "follows the rewards of rollouts, and conversations have none"
        problems.append(Problem("dataset.order", "difficulty", what, "take shuffle"))
    if dataset.path == AUTO:
        remedy = (
            "dataset=conversations dataset.path=FILE.jsonl; "
            "`rlagent data gsm8k_tools --to FILE.jsonl` writes one"
        )
        what = f"{name} learns from conversations, and none are named"
        problems.append(Problem("dataset.path", AUTO, what, remedy))
    elif MESSAGES not in dataset.columns:
        what = f"{name} learns from conversations, whose rows have the column {MESSAGES}"
        problems.append(
            Problem("dataset.columns", dataset.columns, what, "add dataset=conversations")
        )
    return problems
