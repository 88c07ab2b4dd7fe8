"""The sums that a comparison is made of."""

import numpy as np
import pytest

from tf_einsum_grad.gradcheck.analytic import Backward
from tf_einsum_grad.gradcheck.comparison import along_symmetric, amplitude, products
from tf_einsum_grad.gradcheck.numeric import inner

DIRECTION = np.random.default_rng(0).normal(size=(3, 3))
LOWER = np.tril(np.random.default_rng(1).normal(size=(3, 3)))  # it reads one triangle only
EQUAL = (LOWER + LOWER.T) / 2  # ... and has a gradient with two equal ones


def along(x, gradient, slope):
    return along_symmetric(
        x, DIRECTION, lambda w: inner(gradient, w), lambda w: inner(slope, w), 1e-9
    )


def test_along_symmetric_directions_one_triangle_is_as_good_as_two_equal_ones():
    analytic, numeric = along(np.eye(3), EQUAL, LOWER)
    assert analytic == pytest.approx(numeric)
    assert abs(inner(EQUAL, DIRECTION) - inner(LOWER, DIRECTION)) > 0.1


def test_symmetry_explains_nothing_where_there_is_none():
    assert along(np.triu(np.ones((3, 3))), EQUAL, LOWER) is None  # the leaf
    assert along(np.ones((3, 2)), EQUAL, LOWER) is None
    assert along(np.eye(3), LOWER, LOWER) is None  # the gradient
    assert along(np.eye(3), EQUAL, EQUAL) is None  # the function reads both triangles


def test_the_amplitude_is_that_of_the_terms():
    v, y = [np.array([1.0, -1.0])], [np.array([3.0, 4.0])]
    assert amplitude(v, y, [0.0]) == 5.0
    assert amplitude(v, [np.array([1e-9, 0.0])], [3.0]) == pytest.approx(3 * 2**0.5)
    assert amplitude(v, [np.array([np.inf, 4.0])], [0.0]) == 4.0


def test_the_products_of_a_matrix_that_is_not_symmetric():
    class Two:
        output_leaves = (0, 1)

    h = np.array([[2.0, 1.0], [3.0, 4.0]])  # not symmetric
    u, w = [np.array(1.0), np.array(2.0)], [np.array(-1.0), np.array(1.0)]
    hu, hw = (Backward([], list(h.T @ np.array(v))) for v in (u, w))
    uhw, whu, scale = products(Two, u, w, hu, hw)
    assert uhw == pytest.approx(np.array(u) @ h.T @ np.array(w))
    assert whu == pytest.approx(np.array(w) @ h.T @ np.array(u))
    assert abs(uhw - whu) > 0.1 * scale
