"""Reads words of a sweep: GPUs of a layout, short names of keys, what trials' commands share."""

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import yaml
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep

from rlagent.base.redact import HIDDEN, redact
from rlagent.base.words import python_command
from rlagent.config.overrides import SWEPT_BY_HYDRA, is_sweep, key_of, parse
from rlagent.planner.layout import Layout
from rlagent.records.sweep_store import Sweep, TrialRow

_PLAIN = re.compile(r"[\w.+/@ -]*")
"""Values that hold no others, and that every reader takes for one text, number or word."""


def gpus_of(layout: str, config_yaml: str) -> int:
    """GPUs that a layout takes; 0 on a machine without any, where a layout is written too.

    Args:
        layout: As written.
        config_yaml: The resolved configuration of a run.

    >>> gpus_of("4x1+4", "hardware: {gpus: 8}"), gpus_of("1x1+1", "hardware: {gpus: 0}")
    (8, 0)
    """
    config = yaml.safe_load(config_yaml)
    hardware = config.get("hardware") if isinstance(config, dict) else None
    if not isinstance(hardware, dict):
        return 0
    if not (hardware.get("gpus") or hardware.get("logical_gpus")):
        return 0
    try:
        return Layout.parse(layout).total_gpus
    except ValueError:
        return 0


def is_share(metric: str) -> bool:
    """Whether a metric is written in percent.

    >>> is_share("eval/success"), is_share("time/step")
    (True, False)
    """
    return any(word in metric for word in ("success", "valid", "share", "failed"))


def shared_words(sweep: Sweep) -> list[str]:
    """What all trials' commands share: the sweep's own, without what was swept and how.

    Flags and their values stay, since a trial needs the configuration folder too. So does a preset
    such as `+sweep=layouts`: it may set the steps and the evaluation of each trial. `run.fresh`
    goes: that the sweep began from scratch says nothing of its trials.
    """
    swept = set(sweep.parameters)
    kept, words = [], iter(sweep.argv)
    for word in words:
        if word in ("-m", "--multirun"):
            continue
        if word.startswith("-"):
            kept.append(word)
            if "=" not in word and (value := next(words, None)) is not None:
                kept.append(value)
            continue
        key = key_of(word)
        if key.startswith(("hydra.", "hydra/", "sweep.")) or key in swept or is_sweep(word):
            continue
        if key == "run.fresh":
            continue
        kept.append(word)
    return kept


def log_keys(argv: Iterable[str]) -> set[str]:
    """The keys that a command line has searched on a logarithmic scale.

    >>> log_keys(["-m", "algorithm.lr=tag(log,interval(1e-5,3e-5))", "seed=1,2"])
    {'algorithm.lr'}
    """
    found = set()
    for word in argv:
        override = None if word.startswith("-") else parse(word)
        value = override.value() if override else None
        if isinstance(value, IntervalSweep) and "log" in value.tags:
            found.add(key_of(word).removeprefix(SWEPT_BY_HYDRA))
    return found


def short_keys(keys: Iterable[str]) -> dict[str, str]:
    """The last part of each key where that is enough to tell it from the others, for legends.

    >>> short_keys(["algorithm.lr", "seed", "a.path", "b.path"])["algorithm.lr"]
    'lr'
    """
    known = list(dict.fromkeys(keys))
    lasts = Counter(key.rsplit(".", 1)[-1] for key in known)
    return {key: last if lasts[last := key.rsplit(".", 1)[-1]] == 1 else key for key in known}


def shortened(override: str, short: dict[str, str]) -> str:
    """An override with its key shortened."""
    key, sign, value = override.partition("=")
    return f"{short.get(key_of(override), key)}{sign}{value}"


def sweep_command(sweep: Sweep) -> str:
    """The command that made the sweep, and that finishes it."""
    return shlex.join([python_command(), "-m", "rlagent.train", *sweep.argv])


def without_secret(override: str) -> str:
    """An override as a report may show it: a value under a secret-sounding key is hidden.

    >>> without_secret("judge.api_key=abc"), without_secret("seed=1")
    ('judge.api_key=(hidden)', 'seed=1')
    >>> without_secret("workflow.args={api_key:abc}")
    'workflow.args=(hidden)'
    """
    key, sign, value = override.partition("=")
    if not sign or override.startswith("-"):
        return override
    if _PLAIN.fullmatch(value) and not _hides(key_of(override), value):
        # However it is read, as a text or a number; reading it takes a hundred times as long.
        return override
    readings: list[Any] = []
    if (read := parse(override)) is not None:
        found = read.value()
        readings.append(found.list if isinstance(found, ChoiceSweep) else found)
    try:
        # YAML reads some of what Hydra's grammar refuses, and `{a:b}` otherwise.
        readings.append(yaml.safe_load(value))
    except yaml.YAMLError:
        readings.append(value)
    hidden = any(_hides(key_of(override), reading) for reading in readings)
    return f"{key}={HIDDEN}" if hidden else override


def _hides(key: str, value: Any) -> bool:
    return redact({key: value}) != {key: value}


def trial_command(row: TrialRow, reproduce: Sequence[str]) -> str:
    """The command that runs one trial alone; secrets are hidden and have to be filled in."""
    words = [python_command(), "-m", "rlagent.train"]
    return shlex.join([*words, *shown([*reproduce, *row.overrides])])


def shown(words: Sequence[str]) -> list[str]:
    """Words of a command as a terminal or a log may keep them, secrets hidden."""
    return [without_secret(word) for word in words]
