"""The experiment reasoning_gym learns: success in training rises in minutes on the CPU."""

import pytest

from tests.cpu.runs import trained, training_success

pytest.importorskip("reasoning_gym")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_success_in_training_rises(tmp_path):
    folder = trained(tmp_path, "+experiment=reasoning_gym", "hardware=cpu", timeout=1100)
    shares = training_success(folder)
    assert len(shares) == 60
    # Twenty steps at each end, 2,560 rollouts; three seeds rose by 9 to 15 points.
    assert sum(shares[-20:]) / 20 > sum(shares[:20]) / 20 + 0.05
