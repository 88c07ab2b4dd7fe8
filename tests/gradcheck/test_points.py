"""Where to look: directions, cotangents, points nearby."""

import numpy as np
import pytest

from tf_einsum_grad.gradcheck import points
from tf_einsum_grad.gradcheck.numeric import inner, symmetric
from tf_einsum_grad.gradcheck.points import evened, next_to, smallest


def test_directions_have_random_signs_and_no_small_entry():
    x = np.full((50, 40), 3.0)
    u = points.direction(np.random.default_rng(0), x, np.float32)
    assert (np.abs(u) >= 1.49).all() and (np.abs(u) <= 4.51).all()
    assert 800 < (u > 0).sum() < 1200


def test_directions_leave_infinite_entries_alone_and_move_zero_leaves():
    u = points.direction(np.random.default_rng(0), np.array([np.inf, 0.0]), np.float64)
    assert u[0] == 0 and 0.04 < abs(u[1]) < 0.16


def test_cotangents_are_representable_and_do_not_overflow_float16():
    y = np.full(100, 1e-7)
    v = points.cotangent(np.random.default_rng(0), y, np.float16, 1e-7, half=True)
    assert np.array_equal(v, v.astype(np.float16)) and np.isfinite(v.astype(np.float16)).all()
    assert np.abs(v).max() < 500


def test_complex_directions_and_inner_product():
    u = points.direction(np.random.default_rng(0), np.ones(3, complex), np.complex64)
    assert (u.imag != 0).all()
    assert inner(np.array([1j]), np.array([1j])) == 1.0


def test_a_relative_direction_moves_each_element_by_its_own_size():
    u, x = np.array([1.0, -1.0, 1.0]), np.array([1e-6, 1.0, 0.0])
    moved = points.relative(u, x)
    assert moved[0] / moved[1] == pytest.approx(-1e-6) and moved[2] == 1.0
    assert np.array_equal(points.relative(u, np.zeros(3)), u)


def test_a_point_next_to_another_keeps_what_holds_of_data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 4))
    moved = next_to(rng, x)
    assert np.all(moved != x) and np.all(np.abs(moved / x - 1) < 0.02)
    assert np.all(np.sign(moved) == np.sign(x)) and not next_to(rng, np.zeros(3)).any()
    assert symmetric(next_to(rng, x + x.T)) and not symmetric(moved)
    assert symmetric(next_to(rng, (x + 1j * x.T) @ (x + 1j * x.T).conj().T))
    for rows in (np.abs(x) / np.abs(x).sum(1, keepdims=True), np.eye(4)[[0, 2, 2]]):
        assert np.allclose(next_to(rng, rows).sum(1), 1) and np.all(next_to(rng, rows) >= 0)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    assert np.allclose(np.linalg.norm(next_to(rng, unit), axis=1), 1)
    assert next_to(rng, np.array(2.0)).shape == ()


def test_products_with_what_is_evened_are_alike():
    rng = np.random.default_rng(0)
    a = np.array([1.0, -1e-3, 1e-5, 0.0, np.inf])
    even = evened(rng, a)
    products = np.abs(even[:3] * a[:3])
    assert np.all(products >= 0.5e-5) and np.all(products <= 1.5e-5)
    assert even[4] == 0 and 0.5 <= abs(even[3]) <= 1.5
    assert smallest(np.array([1.0, 1e-9])) == 2.0**-20 and smallest(np.zeros(2)) == 0


def test_a_point_nearby_moves_all_that_is_finite_and_a_shaken_one_by_an_ulp():
    x, rng = np.array([0.0, 2.0, np.inf]), np.random.default_rng(0)
    moved = points.nearby(rng, x)
    assert (moved[:2] != x[:2]).all() and np.abs(moved[:2] - x[:2]).max() < 0.1
    assert moved[2] == np.inf
    assert np.abs(points.shaken(rng, x[:2], 2.0**-23) / [1, 2] - [0, 1]).max() == 2.0**-23
