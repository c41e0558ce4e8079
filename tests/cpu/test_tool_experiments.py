"""The experiments with tools learn, each by its one command."""

import pytest

from tests.cpu.runs import evaluations, trained


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("experiment", ["code", "mcp_tools", "search_qa"])
def test_success_rises(tmp_path, experiment):
    words = (f"+experiment={experiment}", "hardware=cpu", "algorithm.total_steps=30")
    first, *_, last = evaluations(trained(tmp_path, *words))
    assert 0.1 <= first["eval/success"] <= 0.6
    assert last["eval/success_low"] > first["eval/success"]
