"""Which elements are wrong, and why."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L

from tests.gradcheck.helpers import names, with_gradient, x
from tf_einsum_grad.gradcheck import (
    GradientCheckError,
    assert_gradients,
    check_gradients,
    diagnose,
    numeric,
)


@pytest.mark.parametrize("wrong", [(0, 0), (3, 4), (6, 8)])
def test_bisection_finds_a_single_wrong_element(wrong):
    rng = np.random.default_rng(0)
    right = rng.normal(size=(7, 9))
    gradient = right.copy()
    gradient[wrong] *= 2
    evaluations = []

    def by_differences(u):
        evaluations.append(1)
        return float(np.sum(right * u))

    u = numeric.direction(rng, right, np.float64)
    found = diagnose.bisect(
        u, lambda w: float(np.sum(gradient * w)), by_differences, tolerance=1e-9
    )
    assert [e.index for e in found] == [wrong]
    assert found[0].analytic == pytest.approx(gradient[wrong])
    assert found[0].numeric == pytest.approx(right[wrong])
    assert len(evaluations) < 12


def test_a_scalar_leaf_is_its_own_worst_element():
    found = diagnose.bisect(np.array(0.5), lambda w: 2 * float(w), lambda w: float(w), tolerance=0)
    assert [(e.index, e.analytic, e.numeric) for e in found] == [((), 2.0, 1.0)]


def test_ratios():
    assert diagnose.constant_ratio([(2, 1), (4.01, 2), (-6, -3)]) == pytest.approx(2, rel=0.01)
    assert diagnose.constant_ratio([(2, 1), (5, 2)]) is None
    assert diagnose.constant_ratio([(2, 1)]) is None
    assert diagnose.describe_ratio(-1, [4]) == "the sign is wrong"
    assert diagnose.describe_ratio(2, []) == "off by a factor of 2"
    assert "1/6: a mean where a sum belongs" in diagnose.describe_ratio(1 / 6, [3, 6])
    assert "a sum where a mean belongs" in diagnose.describe_ratio(6, [6])
    assert "and the sign is wrong" in diagnose.describe_ratio(-3, [])


def test_transposed_and_conjugated_gradients_are_recognized():
    rng = np.random.default_rng(0)
    g, u = rng.normal(size=(3, 3)), rng.normal(size=(3, 3))
    assert "transpose" in diagnose.as_another(g.T, u, numeric.inner(g, u), 1e-9)
    assert diagnose.as_another(g, u, numeric.inner(g, u), 1e-9) == ""
    z, w = g + 1j * u, u - 2j * g
    assert "conj" in diagnose.as_another(z.conj(), w, numeric.inner(z, w), 1e-9)
    assert diagnose.as_another(g, u, 0.0, 1e-9) == ""


def test_a_message_says_everything():
    scale = np.ones((20, 30), np.float32)
    scale[7, 11] = 3
    fn = with_gradient(
        lambda v, w: tf.sin(v) * w, lambda dy, v, w: (dy * tf.cos(v) * w * scale, dy * tf.sin(v))
    )
    report = check_gradients(fn, (x(20, 30), x(20, 30, seed=1)))
    leaf = report.leaves[0]
    assert leaf.worst_indices == ((7, 11),)
    analytic, numeric = leaf.worst_values[0]
    assert analytic == pytest.approx(3 * numeric, rel=1e-4)
    text = report.summary()
    for part in (
        leaf.name,
        "[7, 11]",
        f"{analytic:.6g}",
        f"{numeric:.6g}",
        "tolerance",
        "a single element is wrong",
    ):
        assert part in text
    assert len(text) < 1000
    assert not check_gradients(fn, (x(20, 30), x(20, 30)), localize=False).leaves[0].worst_indices


@pytest.mark.parametrize(
    ("backward", "cause"),
    [
        (lambda dy, v: -dy * tf.cos(v), "the sign is wrong"),
        (lambda dy, v: 2 * dy * tf.cos(v), "off by a factor of 2"),
        (lambda dy, v: dy * tf.cos(v) / 4, "1/4: a mean where a sum belongs"),
        (lambda dy, v: tf.transpose(dy * tf.cos(v)), "a missing transpose"),
        (lambda dy, v: tf.cos(v), "ignores the upstream gradient"),
        (lambda dy, v: tf.cast(dy, tf.float64), "its dtype is float64, the leaf's is float32"),
        (lambda dy, v: tf.reduce_sum(dy), r"its shape is \(\), the leaf's is \(4, 4\)"),
        (lambda dy, v: tf.reshape(dy, [7]), "the backward pass raised InvalidArgumentError"),
    ],
)
def test_likely_causes(backward, cause):
    with pytest.raises(GradientCheckError, match=cause):
        assert_gradients(with_gradient(tf.sin, backward), x(4, 4))


def test_only_some_variants():
    fn = with_gradient(
        tf.sin, lambda dy, v: dy * tf.cos(v) * (1.0 if tf.executing_eagerly() else 1.01)
    )
    report = check_gradients(fn, x(6), variants=("eager", "graph"))
    assert dict(report.variants) == {"eager": "PASS", "graph": "FAIL"}
    assert "wrong only in graph, right in eager" in report.summary()


def test_missing():
    fn = with_gradient(lambda a, b: a * b, lambda dy, a, b: (dy * b, None))
    report = check_gradients(fn, (x(3), x(3, seed=1)))
    assert [leaf.status for leaf in report.leaves] == ["PASS", "MISSING"]
    w = tf.Variable(x(3))
    report = check_gradients(lambda v: v * tf.numpy_function(np.tanh, [w], tf.float32), x(3))
    assert "tf.numpy_function or tf.py_function" in report.summary()
    unused = check_gradients(lambda a, b: a, (x(3), x(3)))
    assert unused.passed


def test_hints_bracket_the_wrong_layer():
    class Wrong(L.Layer):
        def call(self, v):
            return with_gradient(tf.tanh, lambda dy, u: dy)(v)

    model = keras.Sequential(
        [keras.Input((4,)), L.Dense(4, name="before"), Wrong(), L.Dense(2, name="after")]
    )
    report = check_gradients(model, x(3, 4))
    assert set(names(report, "FAIL")) == {"inputs", "before/kernel", "before/bias"}
    assert "'before/bias'" in report.hints[0] and "'after/kernel'" in report.hints[0]
