"""What becomes of the native YAMLs that Trinity, AgentScope and its samples show."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from rlagent.config.spec import NOT_SAID, Spec
from rlagent.config.trinity_checks import native_problems
from rlagent.config.trinity_schema import check_trinity, trinity_spec

DATA = yaml.safe_load((Path(__file__).parent / "data" / "native_examples.yaml").read_text())
REFUSED = yaml.safe_load((Path(__file__).parent / "data" / "native_refused.yaml").read_text())
STAND_INS: dict[str, Any] = {"str": "a", "int": 8, "float": 0.5, "bool": True}


def settings(example: dict[str, Any]) -> dict[str, Any]:
    """An example as a nested configuration, with stand-ins where no value decides anything."""
    tree: dict[str, Any] = {}
    parts = [DATA["groups"][name] for name in example["groups"]] + [example]
    for part in parts:
        for prefix, names in part.items():
            for word in names.split() if prefix != "groups" else []:
                name, said, value = word.partition("=")
                key = f"{prefix}.{name}".strip(".")
                put(tree, key.split("."), yaml.safe_load(value) if said else stand_in(key))
    return listed(tree)


def stand_in(key: str) -> Any:
    if key.endswith("_path") or key.endswith(".path"):
        return "builtin:tiny"
    if key == "cluster.gpu_per_node":
        return 0
    spec: Spec | None = trinity_spec()
    for name in key.split("."):
        assert spec is not None
        spec = spec.item if name.isdigit() else spec.fields.get(name)
        if spec is None or spec.kind in ("any", "dict"):
            return 0.5
    value = STAND_INS[spec.types[0]]
    if spec.default is NOT_SAID or spec.default != value:
        return value
    return not value if isinstance(value, bool) else value + value


def put(tree: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value


def listed(tree: Any) -> Any:
    if not isinstance(tree, dict):
        return tree
    if tree and all(key.isdigit() for key in tree):
        return [listed(value) for value in tree.values()]
    return {key: listed(value) for key, value in tree.items()}


def refused(example: dict[str, Any]) -> list[str]:
    tree = settings(example)
    found = check_trinity(tree, prefix="") + native_problems(tree, on_cpu=True)
    return sorted({problem.key for problem in found})


@pytest.mark.parametrize("name", DATA["examples"])
def test_an_example_runs_on_a_cpu_or_says_which_of_its_keys_do_not(name: str) -> None:
    assert refused(DATA["examples"][name]) == REFUSED[name]


def test_the_list_says_what_becomes_of_every_example() -> None:
    assert set(REFUSED) == set(DATA["examples"])
    assert [name for name, keys in REFUSED.items() if not keys] != []
