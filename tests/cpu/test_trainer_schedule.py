"""Learning-rate schedules and clipping of the embedded trainer."""

import math

import pytest
import torch

from rlagent.backends.embedded.trainer.optim import apply_update
from rlagent.config.schedule import lr_factor


def factors(schedule, warmup, total, least=0.1):
    return [lr_factor(step, schedule, warmup, total, least) for step in range(1, total + 1)]


def test_a_constant_rate_is_constant_after_the_warm_up():
    assert factors("constant", 4, 6) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert lr_factor(10**6, "constant", 0, 0, 0.1) == 1.0


def test_a_cosine_falls_from_the_peak_to_its_least_value():
    values = factors("cosine", 2, 12)
    assert values[:2] == [0.5, 1.0]
    assert values[2:] == sorted(values[2:], reverse=True)
    assert values[6] == pytest.approx(0.1 + 0.9 * 0.5)
    assert values[-1] == pytest.approx(0.1)
    assert lr_factor(50, "cosine", 2, 12, 0.1) == pytest.approx(0.1)


def test_another_schedule_is_refused():
    with pytest.raises(ValueError, match="allowed: constant, cosine"):
        lr_factor(1, "linear", 0, 10, 0.1)


def one_weight(gradient):
    weight = torch.nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor(gradient)
    return weight, torch.optim.SGD([weight], lr=1.0)


def test_a_large_gradient_is_scaled_down_and_its_norm_reported():
    weight, optimizer = one_weight([3.0, 4.0])
    assert apply_update(optimizer, 0.5, 1.0) == pytest.approx(5.0)
    torch.testing.assert_close(weight.detach(), torch.tensor([-0.3, -0.4]))
    assert weight.grad is None


def test_zero_means_no_clipping():
    weight, optimizer = one_weight([3.0, 4.0])
    apply_update(optimizer, 0.5, 0.0)
    torch.testing.assert_close(weight.detach(), torch.tensor([-1.5, -2.0]))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_update_whose_gradient_is_not_finite_is_skipped_and_said(value):
    weight, optimizer = one_weight([1.0, value])
    assert not math.isfinite(apply_update(optimizer, 0.5, 1.0))
    assert weight.detach().tolist() == [0.0, 0.0]
    assert weight.grad is None
