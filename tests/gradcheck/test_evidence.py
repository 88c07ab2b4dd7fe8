"""Rounding is no bug, and what is measured to tell the two apart."""

import numpy as np
import pytest
import tensorflow as tf

from tests.gradcheck.helpers import with_gradient, x
from tf_einsum_grad.gradcheck import check_gradients
from tf_einsum_grad.gradcheck.analytic import Backward
from tf_einsum_grad.gradcheck.evidence import along_symmetric, amplitude, products
from tf_einsum_grad.gradcheck.numeric import inner


def test_tolerances():
    slightly = with_gradient(tf.sin, lambda dy, v: 1.001 * dy * tf.cos(v))
    assert check_gradients(slightly, x(5)).status == "FAIL"
    assert check_gradients(slightly, x(5), rtol=1e-2).passed
    assert check_gradients(slightly, x(5), atol=1.0).passed


def test_inconclusive_is_not_a_pass():
    def rough(v):
        return tf.cast(
            tf.cast(v, tf.float64) + 1e-3 * tf.sin(1e13 * tf.cast(v, tf.float64)), tf.float32
        )

    report = check_gradients(rough, x(3))
    assert report.status == "INCONCLUSIVE" and not report.passed


@pytest.mark.parametrize(
    "fn",
    [
        lambda v: tf.sin(v * 1e6),
        lambda v: tf.math.reduce_variance(v + 1e4),
        lambda v: tf.tanh(v * 20),
        lambda v: tf.nn.log_softmax(v * 100),
        lambda v: tf.reduce_sum(v) - tf.reduce_sum(v * 0.999),
        lambda v: tf.math.log(tf.abs(v) ** 8 + 1e-6),
    ],
)
def test_ill_conditioned_float32_is_not_flagged(fn):
    report = check_gradients(fn, x(40))
    assert report.passed, report.summary()


def test_elements_of_very_different_size():
    assert check_gradients(tf.sqrt, tf.constant([1e-8, 1.0, 100.0])).passed
    assert check_gradients(tf.math.log, tf.constant([1e-6, 1.0, 2.0])).passed


def test_an_output_that_is_zero_but_for_rounding_is_no_reason_for_doubt():
    def fn(v):
        return tf.sin(v), tf.reduce_mean(v - tf.reduce_mean(v))

    for seed in range(3):
        report = check_gradients(fn, x(7, seed=seed), seed=seed)
        assert report.passed and report.reference == "promote", report.summary()
    wrong = with_gradient(tf.sin, lambda dy, v: 1.01 * dy * tf.cos(v))
    assert check_gradients(lambda v: (wrong(v), fn(v)[1]), x(7)).status == "FAIL"


def test_a_relu_that_rounding_turns_on_or_off_is_not_flagged():
    rng = np.random.default_rng(0)
    v = rng.normal(size=64).astype(np.float32)
    w = rng.normal(size=(64, 60)).astype(np.float32)
    w[0] -= (v.astype(np.float64) @ w) / v[0]  # all but zero, in float32
    w[:, 30:] = rng.normal(size=(64, 30))

    def fn(v, w):
        return tf.reduce_sum(tf.nn.relu(tf.linalg.matvec(w, v, transpose_a=True)) * scale)

    scale = tf.constant(rng.normal(size=60), tf.float32)
    for seed in range(3):
        report = check_gradients(fn, (v, w), seed=seed)
        assert report.status != "FAIL", report.summary()


def test_a_loss_that_vanishes_or_overflows_in_half_precision():
    def loss(factor):
        half = lambda v: tf.cast(2 * tf.cast(v, tf.float16), tf.float32)  # noqa: E731
        return lambda v: factor * tf.reduce_mean(half(v) ** 2)

    vanishes = check_gradients(loss(1e-9), x(6))
    assert vanishes.status == "FAIL" and "scale the loss" in vanishes.summary()
    assert check_gradients(loss(1e6), x(6)).status == "NONFINITE"
    assert check_gradients(loss(1.0), x(6)).passed
    assert check_gradients(loss(64.0), x(6)).passed


# ------------------------------------------------------------------ symmetric leaves, amplitude

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
