"""A run's configuration with the overrides of a later command laid over it.

What the overrides mean, and what is wrong with them, compose.py has found out by then.
"""

import copy
import dataclasses

from rlagent.base.errors import Problem
from rlagent.base.origins import COMMAND_LINE, get, put
from rlagent.config.compose import Draft
from rlagent.config.overrides import key_of, parse
from rlagent.config.schema import (
    AUTO,
    DatasetConfig,
    HardwareConfig,
    LearnConfig,
    SweepConfig,
)
from rlagent.config.supervised import is_supervised, tasks_of

OF_THE_RUN = {
    "model": "the run's own model is measured; leave RUN out to measure another one, with "
    "+experiment=...",
    "algorithm": "nothing is trained; leave it out",
    "experiment": "the run has one; leave it or RUN out",
    "sweep": "nothing is trained; leave it out",
}
"""Groups that a command over a run does not take, and why."""

SAMPLING = (
    "model.max_model_len",
    "model.max_response_tokens",
    "model.top_k",
    "model.enable_thinking",
)
"""Settings of the model that say how it samples."""


def over_run(run: LearnConfig, draft: Draft) -> Draft:
    """Lay what was typed over a run's configuration.

    Hardware is that of this machine, not the run's, and nothing is trained.

    Args:
        run: As it was resolved; it is not changed.
        draft: Of the overrides alone.
    """
    config, problems = copy.deepcopy(run), list(draft.problems)
    put(config, "hardware", HardwareConfig(), None)
    put(config, "sweep", SweepConfig(), None)
    # Training refuses it: in the run's file it is what `auto` came to.
    put(config, "evaluate.tasks", AUTO, None)
    typed = {key_of(text) for text in draft.overrides}
    if is_supervised(run):
        problems += _tasks_beside_conversations(config, typed)
    wrong = {problem.key for problem in problems}
    for text in draft.overrides:
        override = parse(text)
        key = key_of(text)
        group = key.partition(".")[0]
        if override is None or key in wrong or override.is_hydra_override():
            continue
        if group in OF_THE_RUN and key not in SAMPLING:
            problems.append(Problem(key, text.partition("=")[2], OF_THE_RUN[group]))
        elif hasattr(draft.config, key) and dataclasses.is_dataclass(getattr(draft.config, key)):
            setattr(config, key, copy.deepcopy(getattr(draft.config, key)))
        elif key == group and not hasattr(draft.config, key):
            problems.append(Problem(key, text.partition("=")[2], "is for training", "leave it out"))
        else:
            put(config, key, copy.deepcopy(get(draft.config, key)), COMMAND_LINE)
    if "dataset.path" in typed and not typed & {"dataset", "dataset.name"}:
        put(config, "dataset.name", AUTO, None)
    return dataclasses.replace(draft, config=config, problems=problems, node=None)


def _tasks_beside_conversations(config: LearnConfig, typed: set[str]) -> list[Problem]:
    """Put the tasks of a run on conversations in the place of those; what is wrong where there are
    none."""
    learnt, tasks = config.dataset.path, DatasetConfig()
    if config.evaluate.dataset:
        tasks = tasks_of(config)
    put(config, "evaluate.dataset", None, None)
    config.dataset = tasks
    if tasks.path != AUTO or typed & {"dataset", "dataset.path"}:
        return []
    what = f"the run learnt from {learnt}, which holds no tasks to be measured by"
    remedy = "add workflow=gsm8k_react dataset=gsm8k_tiny, or a workflow and tasks of your own"
    return [Problem("dataset.path", AUTO, what, remedy)]
