import math

import numpy as np
import pytest

from tf_einsum_grad.gradcheck import numeric
from tf_einsum_grad.gradcheck.numeric import Derivative

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
    assert abs(estimate.value - 1) <= 10 * estimate.error < 0.01


# ------------------------------------------------------------------ directions


def test_directions_have_random_signs_and_no_small_entry():
    x = np.full((50, 40), 3.0)
    u = numeric.direction(np.random.default_rng(0), x, np.float32)
    assert (np.abs(u) >= 1.49).all() and (np.abs(u) <= 4.51).all()
    assert 800 < (u > 0).sum() < 1200


def test_directions_leave_infinite_entries_alone_and_move_zero_leaves():
    u = numeric.direction(np.random.default_rng(0), np.array([np.inf, 0.0]), np.float64)
    assert u[0] == 0 and 0.04 < abs(u[1]) < 0.16


def test_cotangents_are_representable_and_do_not_overflow_float16():
    y = np.full(100, 1e-7)
    v = numeric.cotangent(np.random.default_rng(0), y, np.float16, 1e-7, half=True)
    assert np.array_equal(v, v.astype(np.float16)) and np.isfinite(v.astype(np.float16)).all()
    assert np.abs(v).max() < 500


def test_rms_neither_overflows_nor_vanishes():
    assert numeric.rms(np.array([1e300, 1e300])) == pytest.approx(1e300)
    assert numeric.rms(np.array([1e-300])) == pytest.approx(1e-300)
    assert numeric.rms(np.zeros(0)) == 0


def test_complex_directions_and_inner_product():
    u = numeric.direction(np.random.default_rng(0), np.ones(3, complex), np.complex64)
    assert (u.imag != 0).all()
    assert numeric.inner(np.array([1j]), np.array([1j])) == 1.0
