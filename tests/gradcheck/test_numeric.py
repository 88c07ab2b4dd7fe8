"""Random directions and cotangents, sizes, inner products."""

import numpy as np
import pytest

from tf_einsum_grad.gradcheck import numeric


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
