import math

import pytest

from tf_einsum_grad.gradcheck.numeric import Derivative, steps_for

EPS = 2.0**-52


def derivative(function, amplitude=1.0, eps=EPS):
    return Derivative(
        lambda h: function(h) - function(0.0), amplitude=amplitude, steps=steps_for(eps)
    )


@pytest.mark.parametrize(
    ("function", "slope"),
    [
        (math.sin, 1.0),
        (lambda h: math.exp(3 * h), 3.0),
        (lambda h: math.sin(1e6 * h), 1e6),
        (lambda h: 1e4 + math.tanh(h), 1.0),
        (lambda h: 0.0, 0.0),
        (lambda h: h**2, 0.0),
    ],
)
def test_smooth_functions(function, slope):
    estimate = derivative(function, amplitude=abs(function(0.0)) + 1).refine()
    assert abs(estimate.value - slope) <= 10 * estimate.error
    assert estimate.error <= 1e-6 * max(abs(slope), 1)
    assert estimate.kink == ""


@pytest.mark.parametrize(
    ("function", "kink"),
    [
        (abs, "kink"),
        (lambda h: max(h, 0.0) + math.sin(h), "kink"),
        (lambda h: 1e-3 * abs(h) + math.exp(h), "kink"),
        (lambda h: float(h > 0), "jump"),
        (lambda h: math.copysign(1.0, h) if h else 0.0, "jump"),
        (lambda h: math.floor(h) + h, "jump"),
        (lambda h: max(h, 1e-3), ""),  # a kink nearby is not one here
        (lambda h: max(h + 1e-5, 0.0), ""),
    ],
)
def test_kinks_and_jumps(function, kink):
    assert derivative(function).refine().kink == kink


def test_first_reports_a_suspicion_with_four_evaluations():
    d = derivative(abs)
    assert d.first().kink == "kink"
    assert len(d.samples) == 2


def test_a_glance_takes_two_evaluations_and_refuses_what_is_odd():
    d = derivative(math.sin)
    assert d.glance(1.0, 1e-5) is not None
    assert len(d.samples) == 1
    assert derivative(math.sin).glance(1.1, 1e-5) is None
    assert derivative(abs).glance(0.0, 1e-5) is None


def test_steps_outside_the_domain_are_not_used():
    estimate = derivative(lambda h: math.log(1e-6 + h) if h > -1e-6 else math.nan, 14.0).refine()
    assert estimate.finite
    assert estimate.value == pytest.approx(1e6, rel=1e-4)


def test_nowhere_finite():
    assert not derivative(lambda h: math.nan if h else 0.0).refine().finite


def test_noise_is_no_jump():
    noisy = lambda h: math.sin(h) + 1e-7 * math.sin(1e15 * h + 1)  # noqa: E731
    estimate = derivative(noisy, eps=2.0**-23).refine()
    assert estimate.kink == ""
    assert abs(estimate.value - 1) <= 10 * estimate.error
