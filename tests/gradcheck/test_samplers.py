"""Samples that move with their parameters, at the same quantile."""

import numpy as np
import pytest
import tensorflow as tf

from tests.gradcheck.helpers import x
from tf_einsum_grad.gradcheck import check_gradients
from tf_einsum_grad.gradcheck.samplers import gamma, truncated_normal

RNG = np.random.default_rng(0)


def test_a_gamma_sample_keeps_its_quantile():
    a = RNG.uniform(0.3, 20, 50)
    b = a * RNG.uniform(0.8, 1.25, 50)
    sample = RNG.gamma(a, size=(200, 50))
    moved = gamma(sample, [a], [b])
    before, after = tf.math.igamma(a, sample), tf.math.igamma(b, moved)
    assert np.allclose(before, after, 0, 1e-9)
    assert np.allclose(gamma(sample, [a], [a]), sample, 1e-12)


def test_a_sample_in_a_tail_keeps_its_quantile():
    a, b, sample = np.array(2.0), np.array(2.01), np.array([1e-6, 60.0])
    moved = gamma(sample, [a], [b])
    lower, upper = (np.array(f(a, sample)) for f in (tf.math.igamma, tf.math.igammac))
    assert np.allclose(tf.math.igamma(b, moved)[0], lower[0], 1e-9)
    assert np.allclose(tf.math.igammac(b, moved)[1], upper[1], 1e-9)


def test_a_truncated_normal_sample_keeps_its_quantile():
    old = [np.array(v) for v in (0.5, 2.0, -1.0, 3.0)]
    new = [np.array(v) for v in (0.7, 1.5, -0.9, 2.5)]
    ends = truncated_normal(np.array([-1.0, 3.0]), old, new)
    assert np.allclose(ends, [-0.9, 2.5])
    same = truncated_normal(truncated_normal(np.array([0.1]), old, new), new, old)
    assert np.allclose(same, [0.1], 1e-12)


def drawn_gamma(alpha):
    return tf.random.gamma([6], alpha, dtype=alpha.dtype, seed=3)


def drawn_stateless(alpha, beta):
    return tf.random.stateless_gamma([6, 3], [1, 2], alpha, beta, dtype=alpha.dtype)


def drawn_truncated(least, width):
    return tf.random.stateless_parameterized_truncated_normal(
        [8, 3],
        [1, 2],
        tf.constant(0.3, width.dtype),
        tf.constant(1.5, width.dtype),
        least,
        least + 0.5 + width**2,
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("variants", ["eager", "graph"])
@pytest.mark.parametrize(
    ("draw", "inputs"),
    [
        (drawn_gamma, [np.array([0.5, 2.0, 9.0])]),
        (drawn_stateless, [np.array([0.5, 2.0, 9.0]), np.array([1.0, 2.0, 0.7])]),
        (drawn_truncated, [np.array([0.1, -0.4, 1.0]), np.array([0.3, 1.0, -0.6])]),
    ],
)
def test_samplers_with_implicit_gradients_pass(draw, inputs, variants, dtype):
    values = tuple(tf.constant(v, dtype) for v in inputs)
    report = check_gradients(draw, values, variants=variants)
    assert report.status == "PASS" and report.reference == "promote", report.summary()


def test_what_tensorflow_gets_wrong_of_a_truncated_normal_is_found():
    """Samples move as all parameters do, but TensorFlow takes the bounds for relative to the mean."""

    def moved(mean):
        return tf.random.stateless_parameterized_truncated_normal(
            [8], [1, 2], mean, 0.7, mean - 1.0, mean + 2.0
        )

    report = check_gradients(lambda m: tf.reduce_sum(moved(m)), tf.constant(0.3))
    assert report.status == "FAIL" and abs(report.leaves[0].numeric) == pytest.approx(
        abs(report.leaves[0].analytic) * 8 / float(jacobian_sum(moved)), rel=1e-3
    )


def jacobian_sum(moved):
    mean = tf.constant(0.3)
    with tf.GradientTape() as tape:
        tape.watch(mean)
        y = moved(mean)
    return tape.gradient(y, mean)


def test_one_inside_a_function_of_its_own_and_a_loop():
    @tf.function
    def inner(alpha, k):
        return tf.random.stateless_gamma([3], [1, k], alpha)

    def looped(alpha):
        total = tf.zeros_like(alpha)
        for k in tf.range(3):
            total += inner(alpha, k) * alpha
        return total

    report = check_gradients(tf.function(looped), tf.constant([0.5, 2.0, 9.0]))
    assert report.status == "PASS", report.summary()


def test_a_wrong_gradient_behind_a_sampler_is_found():
    @tf.custom_gradient
    def off(v):
        return tf.sin(v), lambda dy: 1.01 * dy * tf.cos(v)

    report = check_gradients(lambda a: off(drawn_stateless(a, 1.0)), tf.exp(x(3)))
    assert report.status == "FAIL", report.summary()
