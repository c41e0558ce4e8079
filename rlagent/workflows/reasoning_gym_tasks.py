"""Tasks of the package reasoning-gym by name, weighted, at chosen levels, and its own verifiers.

A row names where its task comes from (task, configuration, index), and the verifier makes the task
again there: what a verifier needs may be no JSON.
"""

import functools
import hashlib
import importlib.util
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rlagent.base.errors import ConfigError, Problem, raise_if_any
from rlagent.base.names import did_you_mean

KEY = "dataset.args"
HELD_OUT_SHARE = 10
"""One question in so many is held out, chosen by its hash, so that none is ever on both sides."""

_CHUNK = 1000
"""Tasks that are drawn with one seed; some tasks of the package ask for a number beforehand."""

_FRUITLESS = 20
"""Chunks that may bring nothing new before a task is said to have too few questions."""


def tasks(
    split: str,
    tasks: Mapping[str, Any],
    train: int = 4000,
    test: int = 256,
    levels: Sequence[int] = (),
    seed: int = 0,
) -> Iterator[dict[str, Any]]:
    """The rows of a split.

    Args:
        split: `train` or `test`.
        tasks: Name of each task, with its weight, or with a mapping of `weight` and fields of the
            task's own configuration.
        train: Training tasks.
        test: Held-out tasks; all of different questions.
        levels: Levels of the tasks' own curricula, from 0; as many rows of each, in this order.
            Fields that a task's mapping sets win. Empty: the configurations as they are.
        seed: Of the drawing.

    Raises:
        ConfigError: There is no such task or field, it has no such level, or too few questions;
            or the package is missing.
    """
    package()
    size = {"train": train, "test": test}.get(split)
    if size is None:
        raise ConfigError([Problem("dataset.split", split, "must be train or test")])
    weights, settings = _asked(tasks, levels, train, test)
    rng = random.Random(f"{seed} {split}")
    every: Sequence[int | None] = levels or [None]
    steps = [every[index * len(every) // size] for index in range(size)]
    streams: dict[tuple[str, int | None], Iterator[dict[str, Any]]] = {}
    for level in steps:
        (name,) = rng.choices(list(weights), list(weights.values()))
        if (name, level) not in streams:
            config = _config(name, settings[name], level)
            streams[name, level] = _stream(name, level, config, split, seed)
        yield next(streams[name, level])


def score(task: Mapping[str, Any], answer: str | None) -> float:
    """The reward of an answer by the package's own verifier, in [0, 1]."""
    dataset = _dataset(task["task"], json.dumps(task["config"], sort_keys=True))
    return float(dataset.score_answer(answer, dataset[task["index"]]))


def lack() -> str:
    """Why these tasks cannot be made here; an empty text where they can."""
    if importlib.util.find_spec("reasoning_gym") is not None:
        return ""
    return (
        "the package reasoning-gym is not installed: pip install 'rlagent[reasoning-gym]', which "
        "builds one of its parts with a C compiler"
    )


def package() -> Any:
    """The package reasoning-gym.

    Raises:
        ConfigError: It is not installed.
    """
    if lacking := lack():
        raise ConfigError([Problem("dataset", "reasoning_gym", lacking)])
    import reasoning_gym

    return reasoning_gym


def _asked(
    tasks: Mapping[str, Any], levels: Sequence[int], train: int, test: int
) -> tuple[dict[str, float], dict[str, dict[str, Any]]]:
    from reasoning_gym.factory import CURRICULA, DATASETS

    weights, settings, problems = {}, {}, []
    for key, number in (("train", train), ("test", test)):
        if not isinstance(number, int) or number < 1:
            problems.append(Problem(f"{KEY}.{key}", number, "must be a whole number, at least 1"))
    if not isinstance(tasks, Mapping) or not tasks:
        message, remedy = "must name tasks", f"write {KEY}.tasks={{chain_sum: 2, gcd: 1}}"
        problems.append(Problem(f"{KEY}.tasks", tasks, message, remedy))
        tasks = {}
    for name, given in tasks.items():
        key = f"{KEY}.tasks.{name}"
        own = dict(given) if isinstance(given, Mapping) else {"weight": given}
        weight = own.pop("weight", 1)
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not weight > 0:
            problems.append(Problem(key, weight, "must be a weight above 0, or a mapping with it"))
        if name not in DATASETS:
            near = did_you_mean(name, DATASETS, f"there are {', '.join(sorted(DATASETS))}")
            problems.append(Problem(key, None, "is no task of reasoning-gym", near))
            continue
        if levels and name not in CURRICULA:
            remedy = f"leave levels out, or set its fields: {{{name}: {{FIELD: VALUE}}}}"
            problems.append(Problem(key, None, "has no levels in reasoning-gym", remedy))
        fields = sorted(DATASETS[name][1].__dataclass_fields__)
        for field in own:
            if field not in fields or field in ("seed", "size"):
                known = [item for item in fields if item not in ("seed", "size")]
                near = did_you_mean(field, known, f"it has {', '.join(known)}")
                problems.append(Problem(f"{key}.{field}", own[field], "is no field of it", near))
        weights[name], settings[name] = weight, own
    if any(isinstance(level, bool) or not isinstance(level, int) or level < 0 for level in levels):
        problems.append(Problem(f"{KEY}.levels", levels, "must be whole numbers from 0 on"))
    raise_if_any(problems)
    return weights, settings


def _config(name: str, own: Mapping[str, Any], level: int | None) -> dict[str, Any]:
    """The fields of a task's configuration that a level and the user set."""
    from reasoning_gym.factory import DATASETS, create_curriculum

    found: dict[str, Any] = {}
    if level is not None:
        curriculum = create_curriculum(name)
        curriculum.set_global_level(level)
        made, default = curriculum.generate_configuration(), DATASETS[name][1]()
        found = {
            field: getattr(made, field)
            for field in made.__dataclass_fields__
            if getattr(made, field) != getattr(default, field)
        }
    return {**found, **own}


def _stream(
    name: str, level: int | None, config: Mapping[str, Any], split: str, seed: int
) -> Iterator[dict[str, Any]]:
    """The tasks of one kind that belong to a split, without end; held-out ones never twice."""
    known: set[str] = set()
    held_out = split == "test"
    start = int(hashlib.sha256(f"{seed} {name} {level}".encode()).hexdigest()[:7], 16)
    fruitless = 0
    while fruitless < _FRUITLESS:
        whole = {**config, "seed": start, "size": _CHUNK}
        dataset, fruitful = _dataset(name, json.dumps(whole, sort_keys=True)), False
        for index in range(_CHUNK):
            entry = dataset[index]
            question = str(entry["question"])
            if _is_held_out(question) != held_out or (held_out and question in known):
                continue
            known.add(question)
            fruitful = True
            yield {
                "question": question,
                "answer": None if entry["answer"] is None else str(entry["answer"]),
                "task": name,
                **({} if level is None else {"level": level}),
                "config": whole,
                "index": index,
            }
        start, fruitless = start + _CHUNK, 0 if fruitful else fruitless + 1
    at = "" if level is None else f" at level {level}"
    message = f"has no more than {len(known)} different questions for the split {split}{at}"
    remedy = f"lower {KEY}.{split}, its weight, or make its configuration wider"
    raise ConfigError([Problem(f"{KEY}.tasks.{name}", None, message, remedy)])


def _is_held_out(question: str) -> bool:
    return int(hashlib.sha256(question.encode()).hexdigest(), 16) % HELD_OUT_SHARE == 0


@functools.lru_cache(maxsize=256)
def _dataset(name: str, config: str) -> Any:
    """A dataset of the package with this configuration.

    Raises:
        ConfigError: The package refuses it.
    """
    try:
        return package().create_dataset(name, **json.loads(config))
    except (AssertionError, ValueError, TypeError) as error:
        own = {k: v for k, v in json.loads(config).items() if k not in ("seed", "size")}
        message = f"is refused by reasoning-gym: {error}"
        raise ConfigError([Problem(f"{KEY}.tasks.{name}", own, message)]) from error
