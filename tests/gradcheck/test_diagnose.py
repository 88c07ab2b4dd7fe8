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
    points,
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

    u = points.direction(rng, right, np.float64)
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
    assert diagnose.constant_ratio([(1, 1), (1.001, 1)]) is None
    assert diagnose.constant_ratio([(1, 1), (1, 1)]) is None
    assert diagnose.constant_ratio([(1.002, 1), (2.004, 2)]) == pytest.approx(1.002)
    assert "1/6: a mean where a sum belongs" in diagnose.describe_ratio(1 / 6, [3, 6])
    assert "a sum where a mean belongs" in diagnose.describe_ratio(6, [6])
    assert "and the sign is wrong" in diagnose.describe_ratio(-3, [])


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (1 / 256, "off by a factor of 1/256"),
        (0.00391, "off by a factor of 0.00391"),  # 1/255.75
        (-1 / 3, "off by a factor of 1/3, and the sign is wrong"),
        (1.002, "off by a factor of 1.002"),
        (0.99987, "off by a factor of 0.99987"),
        (10.0, "off by a factor of 10"),
        (0.75, "off by a factor of 0.75"),
        (7.0000001, "off by a factor of 7"),
    ],
)
def test_a_factor_is_written_so_that_it_explains(ratio, text):
    assert diagnose.describe_ratio(ratio, [5]) == text


def test_transposed_and_conjugated_gradients_are_recognized():
    rng = np.random.default_rng(0)
    g, u = rng.normal(size=(3, 3)), rng.normal(size=(3, 3))
    assert "transpose" in diagnose.as_another(g.T, u, numeric.inner(g, u), 1e-9)
    assert diagnose.as_another(g, u, numeric.inner(g, u), 1e-9) == ""
    z, w = g + 1j * u, u - 2j * g
    assert "conj" in diagnose.as_another(z.conj(), w, numeric.inner(z, w), 1e-9)
    assert diagnose.as_another(g, u, 0.0, 1e-9) == ""
    # A tolerance that lets everything pass says nothing about the transpose.
    assert diagnose.as_another(g, u, 0.0, 1e9) == ""


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
        (lambda dy, v: 1.1 * tf.cos(v) * dy * dy / dy, "does it divide by the upstream gradient"),
        (lambda dy, v: tf.cast(dy, tf.float64), "its dtype is float64, the leaf's is float32"),
        (lambda dy, v: tf.reduce_sum(dy), r"its shape is \(\), the leaf's is \(4, 4\)"),
        (lambda dy, v: tf.reshape(dy, [7]), "the backward pass raised InvalidArgumentError"),
    ],
)
def test_likely_causes(backward, cause):
    with pytest.raises(GradientCheckError, match=cause):
        assert_gradients(with_gradient(tf.sin, backward), x(4, 4))


def test_a_mean_over_several_dimensions_is_recognized():
    fn = with_gradient(lambda v: tf.reduce_sum(tf.tanh(v), [1, 2]), lambda dy, v: (
        tf.reshape(dy, [2, 1, 1, 3]) * (1 - tf.tanh(v) ** 2) / 28
    ))  # fmt: skip
    assert "off by a factor of 1/28: a mean where" in check_gradients(fn, x(2, 4, 7, 3)).summary()


def test_a_cause_is_named_only_where_the_figures_say_so():
    """A gradient that is wrong by a little everywhere."""
    fn = with_gradient(tf.sin, lambda dy, v: dy * tf.cos(v + 1e-3))
    for seed in range(3):
        leaf = check_gradients(fn, x(40, seed=seed), seed=seed).leaves[0]
        assert leaf.status == "FAIL"
        assert leaf.cause.startswith("the gradient does not match the function")
        texts = [f"{value:.6g}" for pair in leaf.worst_values for value in pair]
        assert all(a != n for a, n in zip(texts[::2], texts[1::2], strict=True))


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


class Wrong(L.Layer):
    def call(self, v):
        return with_gradient(tf.tanh, lambda dy, u: dy)(v)


def test_what_is_upstream_of_a_fault_is_one_line():
    layers = [L.Dense(5, "tanh", name=f"before{i}") for i in range(6)]
    model = keras.Sequential([keras.Input((4,)), *layers, Wrong(), L.Dense(2, name="after")])
    report = check_gradients(model, x(3, 4))
    failed = names(report, "FAIL")
    assert len(failed) == 13 and {leaf.name for leaf in report.leaves if not leaf.upstream} == {
        "before5/bias", "after/kernel", "after/bias",
    }  # fmt: skip
    assert [leaf.name for leaf in report.failed_leaves if leaf.worst_indices] == ["before5/bias"]
    lines = report.summary().splitlines()
    assert lines[1].startswith("  hint: look at or after") and "before5/bias" in lines[1]
    assert sum("FAIL " in line for line in lines) == 1
    assert any("upstream, so wrong as well: 'inputs', 'before0/kernel'" in line for line in lines)


def test_two_faults_beside_each_other_are_both_described():
    a, b = keras.Input((3,), name="a"), keras.Input((3,), name="b")
    left, right = (L.Dense(3, name=name) for name in ("left", "right"))
    sum_ = L.Add()([Wrong()(left(a)), Wrong()(right(b))])
    report = check_gradients(keras.Model([a, b], sum_), [x(2, 3), x(2, 3, seed=1)])
    own = {leaf.name for leaf in report.failed_leaves if not leaf.upstream}
    assert own == {"left/bias", "right/bias"} and len(report.hints) == 2
    assert {leaf.name for leaf in report.failed_leaves if leaf.worst_indices} == own


def test_leaves_that_the_same_op_uses_share_a_hint():
    fn = with_gradient(lambda a, b: a * b, lambda dy, a, b: (2 * dy * b, 2 * dy * a))
    report = check_gradients(fn, (x(2), x(2, seed=1)))
    assert len(report.hints) == 1 and "which first uses 'inputs[0]', 'inputs[1]'" in report.hints[0]


def test_without_a_trace_every_wrong_leaf_is_described():
    wrong = with_gradient(tf.tanh, lambda dy, u: 2 * dy)
    report = check_gradients(lambda a, b: wrong(a * b) + float(a[0]), (x(2), x(2, seed=1)))
    assert len(report.failed_leaves) == 2
    assert not any(leaf.upstream for leaf in report.leaves)


def test_where_nothing_was_tested_the_report_says_so():
    unused, dead = tf.Variable(x(2), name="unused"), tf.Variable(-tf.ones(2), name="dead")
    shift = tf.Variable(x(2), name="shift")

    def fn(v):
        w = v + shift
        return tf.nn.relu(dead) + w - tf.reduce_mean(w, 0), v

    report = check_gradients(fn, x(3, 2), variables=[unused, dead, shift])
    assert report.passed
    assert [leaf.name for leaf in report.leaves if not leaf.tested] == ["unused", "dead", "shift"]
    assert "nothing was tested at 'dead', 'shift': the derivative is zero here" in report.summary()
    assert "no output depends on 'unused'" in report.summary()
    assert "nothing was tested" not in check_gradients(tf.sin, x(3)).summary()


def test_what_is_assigned_is_named():
    count = tf.Variable(0.0, name="count")
    report = check_gradients(lambda v: v * count.assign_add(1.0), x(3))
    assert report.passed and "assigned, so held fixed, and put back: 'count'" in report.summary()


def test_hints_bracket_the_wrong_layer():
    model = keras.Sequential(
        [keras.Input((4,)), L.Dense(4, name="before"), Wrong(), L.Dense(2, name="after")]
    )
    report = check_gradients(model, x(3, 4))
    assert set(names(report, "FAIL")) == {"inputs", "before/kernel", "before/bias"}
    assert "'before/bias'" in report.hints[0] and "'after/kernel'" in report.hints[0]
