"""A guesser and a chooser of one model both learn from rewards of their own."""

import pytest

from tests.cpu.runs import evaluations, trained

pytestmark = pytest.mark.slow


def test_success_and_the_rewards_of_both_roles_rise(tmp_path):
    folder = trained(tmp_path, "+experiment=two_roles", "hardware=cpu", "algorithm.total_steps=40")
    rows = [row["metrics"] for row in folder.read_metrics("explorer")]
    first = evaluations(folder)[0]
    assert 0.2 <= first["eval/success"] <= 0.6
    # Ten steps at each end, 1280 rollouts: of those held out there are 128.
    for name in ("success/mean", "reward/guesser/mean", "reward/chooser/mean"):
        values = [row[f"rollout/{name}"] for row in rows if f"rollout/{name}" in row]
        assert len(values) == 40
        assert sum(values[-10:]) / 10 > sum(values[:10]) / 10 + 0.05, name
    # Advantages of a step were worked out agent by agent, and noted with each call.
    noted = [row for row in folder.rollouts.read() if row.get("advantages")]
    assert noted
    assert all(len(row["advantages"]) <= len(row["calls"]) == 3 for row in noted)
