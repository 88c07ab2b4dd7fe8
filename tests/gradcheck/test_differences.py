"""Derivatives by finite differences: steps, kinks, stairs, rounding."""

import math

import numpy as np
import pytest

from tf_einsum_grad.gradcheck import points
from tf_einsum_grad.gradcheck.differences import Derivative

EPS = 2.0**-52


def derivative(function, amplitude=1.0, eps=EPS):
    return Derivative(lambda h: function(h) - function(0.0), amplitude=amplitude, eps=eps)


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


def test_a_glance_takes_four_evaluations_and_refuses_what_is_odd():
    d = derivative(math.sin)
    assert d.glance(1.0, 1e-5) is not None
    assert len(d.samples) == 2
    assert derivative(math.sin).glance(1.1, 1e-5) is None
    assert derivative(abs).glance(0.0, 1e-5) is None


def test_a_glance_is_taken_at_the_smallest_step_that_is_accurate_enough():
    d = derivative(lambda h: max(h, 1e-6) + h)  # a kink within reach of most steps
    assert d.glance(1.0, 2e-5) is not None and d.steps[d.glanced(2e-5)] < 1e-6
    assert [d.glanced(accuracy) for accuracy in (1e-3, 1e-6, 1e-8, 0.0)] == [9, 6, 3, 3]


def stairs(function, width):
    """Rounds the argument: flat at a closer look."""
    return lambda h: function(width * round((h + width / 3) / width))


@pytest.mark.parametrize(
    ("function", "value", "rival"),
    [
        (stairs(math.sin, 1e-8), 0.0, 1.0),
        (stairs(lambda h: -3 * h, 1e-7), 0.0, -3.0),
        (lambda h: stairs(math.sin, 1e-8)(h) + 2 * h, 2.0, 3.0),
        (math.sin, 1.0, None),
        (lambda h: math.exp(3 * h), 3.0, None),
        (lambda h: max(h, 1e-6), 0.0, None),  # a kink nearby: not alike on both sides
        (lambda h: max(-2 * h, 3 * h - 1e-5), -2.0, None),
        (lambda h: h**2, 0.0, None),
    ],
)
def test_a_rival_is_what_larger_steps_settle_on(function, value, rival):
    estimate = derivative(function).refine()
    assert abs(estimate.value - value) <= 10 * estimate.error < 0.01
    assert estimate.disputed == (rival is not None)
    assert rival is None or estimate.rival == pytest.approx(rival, rel=1e-3)


def test_a_function_of_stairs_does_not_pass_at_a_glance():
    both = lambda h: stairs(math.sin, 1e-8)(h) + 2 * h  # noqa: E731
    assert derivative(both).glance(2.0, 1e-5) is None


@pytest.mark.parametrize("nearest", [1e-3, 1e-5, 1e-7, 1e-9])
def test_what_many_steps_agree_on_is_no_evidence_beside_smaller_ones(nearest):
    # With kinks on many scales, as of relus behind one another, slopes far out agree as well.
    rng = np.random.default_rng(0)
    at = nearest * 8.0 ** rng.uniform(0, 9, 40)
    slopes = rng.normal(size=40)
    estimate = derivative(lambda h: h + float(slopes @ np.maximum(h - at, 0)), 1.0).refine()
    assert abs(estimate.value - 1.0) <= 10 * estimate.error


def test_rounding_is_seen_where_it_is_larger_than_modeled():
    numbers = np.random.default_rng(0).normal(size=40)
    variance = derivative(lambda h: float(np.var(numbers * (1 + h) + 1e4)), amplitude=1.0)
    estimate = variance.refine()
    slope = 2 * float(np.var(numbers))
    assert abs(estimate.value - slope) <= 10 * estimate.error <= 1e-3 * slope


@pytest.mark.parametrize(
    "function", [lambda h: max(h, 0.0) ** 2, lambda h: h**3, lambda h: h * abs(h) + h**4]
)
def test_differences_that_vanish_with_the_step(function):
    estimate = derivative(function, amplitude=0.0).refine()
    assert estimate.vanishing and estimate.value == 0 and estimate.error < 1e-9
    assert not derivative(lambda h: function(h) + 1e-3 * h, amplitude=0.0).refine().vanishing


def test_steps_are_multiples_of_a_unit():
    narrow = lambda h: math.sin(1e9 * h)  # noqa: E731
    estimate = Derivative(narrow, amplitude=1.0, eps=EPS, unit=points.unit(1e9, 1.0)).refine()
    assert estimate.value == pytest.approx(1e9, rel=1e-7)
    assert points.unit(1e9, 1.0) == 2.0**-30
    for scale, amplitude in ((0.5, 1.0), (1.0, 0.0), (math.inf, 1.0), (math.nan, 1.0)):
        assert points.unit(scale, amplitude) == 1.0


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
    assert abs(estimate.value - 1) <= 10 * estimate.error < 0.01
