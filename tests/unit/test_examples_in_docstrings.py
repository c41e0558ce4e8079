"""What the docstrings show is what happens."""

import doctest
import importlib

import pytest

MODULES = [
    "config.errors",
    "config.names",
    "config.paths",
    "config.functions",
    "layout.layout",
    "sweep.grid",
    "trinity.startup",
    "trinity.lag",
    "gpu.engine_arguments",
    "sweep.common",
    "sweep.shares",
    "report.sweep_names",
    "report.importance",
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_hold(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"rlagent.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
