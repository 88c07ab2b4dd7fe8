"""Rounding is no bug, and what is measured to tell the two apart."""

import numpy as np
import pytest
import tensorflow as tf

from tests.gradcheck.helpers import with_gradient, x
from tf_einsum_grad.gradcheck import check_gradients


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


def test_what_float32_cannot_hold_is_not_looked_for():
    report = check_gradients(lambda v: tf.nn.softmax(1000 * v), x(6), order=2)
    assert report.passed and report.order == 2, report.summary()


def test_a_loss_that_vanishes_or_overflows_in_half_precision():
    def loss(factor):
        half = lambda v: tf.cast(2 * tf.cast(v, tf.float16), tf.float32)  # noqa: E731
        return lambda v: factor * tf.reduce_mean(half(v) ** 2)

    vanishes = check_gradients(loss(1e-9), x(6))
    assert vanishes.status == "FAIL" and "scale the loss" in vanishes.summary()
    assert check_gradients(loss(1e6), x(6)).status == "NONFINITE"
    assert check_gradients(loss(1.0), x(6)).passed
    assert check_gradients(loss(64.0), x(6)).passed


@pytest.mark.parametrize(("dtype", "narrow"), [("float32", "float16"), ("float64", "float16")])
def test_a_backward_pass_coarser_than_the_forward_pass_is_named(dtype, narrow):
    def rounded(dy, v):
        return dy * tf.cast(tf.cast(tf.cos(v), narrow), dtype)

    report = check_gradients(with_gradient(tf.sin, rounded), x(24, dtype=dtype))
    assert report.status == "FAIL", report.summary()
    assert (
        f"the backward pass computes in {narrow}, the forward pass in {dtype}" in report.summary()
    )
    in_both = with_gradient(lambda v: tf.cast(tf.cast(tf.sin(v), narrow), dtype), rounded)
    assert check_gradients(in_both, x(24, dtype=dtype)).passed
