"""Trinity's own settings and ours do not contradict each other unseen."""

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from rlagent.base.errors import ConfigError
from rlagent.base.origins import get
from rlagent.config.check import LAYOUT_PARTS
from rlagent.config.overruled import BINDING, NOTED
from rlagent.config.prepare import prepare
from rlagent.config.resolve import Resolved
from rlagent.machine.resources import Machine
from rlagent.plan import main
from rlagent.trinity.translate import to_trinity
from tests.configured import configured, drafted

MARK = 7919
"""A number that no setting has, nor is computed to be."""
COMPUTED = (
    "explorer.runner_per_model",
    "trainer.trainer_config.model.override_config.attn_implementation",
    "algorithm.rollout_correction.rollout_is_threshold",
)
"""Fields that hold MARK for a key, but another value for others: a share, and words of verl's."""
GROUPS = ("model", "algorithm", "hardware")
VALUES = {
    "trainer.offload_policy": True,
    "explorer.rollout_model.gpu_memory_utilization": 0.5,
}
"""Values of fields that do not take every number."""


def resolved(*overrides: str, trinity: dict[str, Any] | None = None) -> Resolved:
    draft = drafted(*overrides)
    draft.config.trinity = trinity or {}
    return prepare(draft, Machine((), 2, 24), plan_only=True)


def nested(field: str, value: Any) -> dict[str, Any]:
    for part in reversed(field.split(".")):
        value = {part: value}
    return value


def fields_of(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted fields of nested dicts; lists cannot be overruled in part."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from fields_of(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def marked(run: Resolved, key: str) -> Resolved:
    """The run with MARK for a key, as if that had been resolved."""
    config, layout = copy.deepcopy(run.config), run.layout
    group, _, name = key.rpartition(".")
    setattr(get(config, group) if group else config, name, MARK)
    if name in LAYOUT_PARTS:
        layout = dataclasses.replace(layout, **{name: MARK})
    return dataclasses.replace(run, config=config, layout=layout)


@pytest.fixture(scope="module")
def runs() -> list[Resolved]:
    return [resolved("hardware=cpu"), resolved("hardware=8gpu", "algorithm.total_epochs=1")]


NAMED = ("model.path", "model.chat_template", "hardware.engine", "algorithm.off_policy")


def test_the_table_holds_what_is_translated_from_one_key_and_no_more(runs: list[Resolved]) -> None:
    config = runs[0].config
    keys = ["seed"]
    keys += [
        f"{group}.{item.name}"
        for group in GROUPS
        for item in dataclasses.fields(getattr(config, group))
        if not isinstance(get(config, f"{group}.{item.name}"), (dict, list))
        and not dataclasses.is_dataclass(get(config, f"{group}.{item.name}"))
    ]
    found = {}
    for key in keys:
        for run in runs:
            # A path and a word must be text, and an engine one that there is.
            named = key in NAMED
            tree = {} if named else to_trinity(marked(run, key), "outputs/x")
            found |= {field: key for field, value in fields_of(tree) if value == MARK}
    for field in COMPUTED:
        del found[field]
    every = {**BINDING, **NOTED}
    known = {field: key for field, key in every.items() if key in keys}
    # Paths are looked up, and what is a flag becomes one.
    looked_up = ("model.model_path", "model.chat_template_path", "model.custom_chat_template")
    for field in (*looked_up, "trainer.offload_policy"):
        found[field] = known[field]
    assert found == known
    assert not set(BINDING) & set(NOTED)


@pytest.mark.parametrize("field", BINDING)
def test_what_more_follows_from_is_refused_with_the_key_to_set(field: str) -> None:
    value = VALUES.get(field, 3)
    with pytest.raises(ConfigError) as caught:
        resolved("hardware=cpu", trinity=nested(field, value))
    (problem,) = caught.value.problems
    assert str(problem).startswith(f"trinity.{field}={str(value).lower()}: contradicts ")
    assert problem.remedy == f"set {BINDING[field]}={str(value).lower()} instead"


@pytest.mark.parametrize("key", ["keep_checkpoints", "updates_per_step", "epochs_per_step"])
def test_what_we_obey_ourselves_or_plan_with_is_not_overruled(key: str) -> None:
    # Else fewer checkpoints would be kept than said, and the old policy be another than said.
    assert f"algorithm.{key}" in BINDING.values()


def test_what_says_the_same_contradicts_nothing() -> None:
    run = resolved("hardware=cpu", trinity={"algorithm": {"repeat_times": 8}})
    assert not any("trinity." in line for line in run.choices)


def test_what_wins_elsewhere_is_said_with_the_choices(capsys) -> None:
    words = ["+experiment=gsm8k_react", "hardware=cpu", "trinity.trainer.save_interval=5"]
    assert main(words) == 0
    said = "algorithm.save_interval: 5, since trinity.trainer.save_interval wins over 6; otherwise"
    assert said in capsys.readouterr().out


def test_a_key_that_is_left_to_trinity_is_not_overruled() -> None:
    trinity = {"algorithm": {"loss_agg_mode": "token-mean"}}
    assert configured().algorithm.loss_agg_mode is None
    assert not any("loss_agg_mode" in line for line in resolved(trinity=trinity).choices)
