"""Configurations for tests, made without Hydra composing each one again (a quarter second each)."""

import copy
import functools

from omegaconf import OmegaConf

from rlagent.base.origins import COMMAND_LINE, leaves, origins
from rlagent.base.paths import conf_dir
from rlagent.config.compose import Draft, compose, from_mapping, to_mapping
from rlagent.config.overrides import parse
from rlagent.config.schema import LearnConfig

GROUPS = ("model", "dataset", "algorithm", "hardware", "workflow", "monitor")


@functools.cache
def _base(experiment: str) -> LearnConfig:
    return compose([f"+experiment={experiment}"] if experiment else [])


def configured(*overrides: str, experiment: str = "gsm8k_react") -> LearnConfig:
    """Return what compose([+experiment=..., *overrides]) returns.

    Presets of groups replace the group, as in Hydra; other overrides set one key.
    """
    data = copy.deepcopy(to_mapping(_base(experiment)))
    written = origins(_base(experiment))
    defaults = to_mapping(LearnConfig())
    pairs = [item.split("=", 1) for item in overrides]
    for key, value in pairs:
        if key in GROUPS:
            preset = OmegaConf.load(conf_dir() / key / f"{value}.yaml")
            merged = OmegaConf.merge(OmegaConf.create(defaults[key]), preset)
            data[key] = OmegaConf.to_container(merged)
            written = {name: where for name, where in written.items() if not _is_in(name, key)}
            file = f"conf/{key}/{value}.yaml"
            written |= {name: file for name, _ in leaves(OmegaConf.to_container(preset), f"{key}.")}
    for override in overrides:
        key = override.split("=", 1)[0]
        if key in GROUPS:
            continue
        parsed = parse(override)
        assert parsed is not None
        node = data
        *path, name = key.split(".")
        for part in path:
            node = node.setdefault(part, {})
        node[name] = parsed.value()
        written |= {name: COMMAND_LINE for name, _ in leaves({key: parsed.value()})}
    config, problems = from_mapping(data, written)
    assert problems == []
    return config


def _is_in(key: str, group: str) -> bool:
    return key.startswith(f"{group}.")


def drafted(*overrides: str) -> Draft:
    """Return the draft of a composition without mistakes."""
    return Draft(configured(*overrides), [])
