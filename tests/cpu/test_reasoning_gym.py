"""The experiment reasoning_gym learns: held-out success rises within a few steps on the CPU."""

import pytest

from tests.cpu.runs import trained

pytest.importorskip("reasoning_gym")


@pytest.mark.slow
def test_held_out_success_rises(tmp_path):
    line = ["+experiment=reasoning_gym", "hardware=cpu", "algorithm.total_steps=15"]
    status = trained(tmp_path, *line, timeout=590).read_status()
    assert status["success_after"] > status["success_before"] + 0.1
