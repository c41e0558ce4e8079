"""Every number for Trinity has bounds that mean something."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlagent.config.check import check
from rlagent.config.spec import Spec
from rlagent.config.trinity_bounds import BOUNDS, bounds_of
from rlagent.config.trinity_fate import line_of
from rlagent.config.trinity_schema import trinity_spec
from rlagent.config.trinity_table import TABLE
from tests.configured import configured
from tests.unit.test_trinity_table import native, nested


def _numbers(spec: Spec, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every number that somebody obeys, with Trinity's default."""
    if spec.kind == "struct":
        for name, child in spec.fields.items():
            yield from _numbers(child, f"{key}.{name}" if key else name)
    elif spec.kind == "list" and spec.item is not None and spec.item.kind == "struct":
        yield from _numbers(spec.item, f"{key}[]")
    elif {"int", "float"} & set(spec.types):
        line = line_of(key, frozenset(TABLE))
        if line is not None and TABLE[line].by:
            yield key, spec.default


def _every_number() -> list[tuple[str, Any]]:
    spec = trinity_spec()
    assert spec is not None
    return list(_numbers(spec))


def test_every_number_has_bounds_in_which_the_default_of_trinity_lies() -> None:
    without = []
    for key, default in _every_number():
        limits = bounds_of(key)
        if limits is None or (isinstance(default, (int, float)) and not limits.holds(default)):
            without.append((key, default))
    assert without == []


def test_every_line_of_bounds_is_that_of_a_setting() -> None:
    keys = [key for key, _ in _every_number()] + ["algorithm.optimizer.betas"]
    assert [
        name for name in BOUNDS if not any(f".{key}".endswith(f".{name}") for key in keys)
    ] == []


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("algorithm.optimizer.lr", -1, "must be at least 1e-12 and below 1"),
        ("algorithm.optimizer.lr", 1e30, "must be at least 1e-12 and below 1"),
        ("algorithm.optimizer.betas", [0.9, 1.5], "must be at least 0 and below 1"),
        ("buffer.batch_size", -4, "must be at least 1 and at most 100000"),
        ("buffer.explorer_input.taskset.rollout_args.top_p", 1.5, "at most 1"),
        ("explorer.max_timeout", -3, "at most 2592000 seconds"),
        ("explorer.over_rollout.ratio", 2, "below 1"),
        ("synchronizer.sync_interval", 0, "must be at least 1"),
    ],
)
def test_a_number_that_means_nothing_is_refused_with_key_value_and_range(
    key: str, value: Any, said: str, tmp_path: Path
) -> None:
    problems = check(native(tmp_path, nested(key, value)), workflow_given=True)
    assert [problem.key for problem in problems] == [key]
    assert said in str(problems[0])


def test_an_override_for_trinity_has_the_same_bounds() -> None:
    config = configured("hardware=cpu")
    config.trinity = nested("algorithm.optimizer.min_lr_ratio", -0.5)
    (problem,) = check(config, workflow_given=True)
    assert str(problem) == (
        "trinity.algorithm.optimizer.min_lr_ratio=-0.5: must be at least 0 and at most 1"
    )
