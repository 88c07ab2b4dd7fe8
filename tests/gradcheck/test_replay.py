"""The reference repeats stop_gradients, assignments and random numbers."""

import keras
import pytest
import tensorflow as tf
from keras import layers as L

from tests.gradcheck import cases
from tests.gradcheck.helpers import x
from tf_einsum_grad.gradcheck import check_gradients


def test_stop_gradient():
    def fn(v):
        return (v + tf.stop_gradient(tf.round(v * 4) / 4 - v)) ** 2

    assert check_gradients(fn, x(5)).passed
    assert check_gradients(lambda v: v * tf.stop_gradient(v), x(5)).passed
    through = check_gradients(
        lambda v: v * tf.stop_gradient(v), x(5), stop_gradient="differentiate"
    )
    assert through.status == "FAIL"


def test_stop_gradient_in_loops_branches_and_nested_functions():
    nested = tf.function(lambda v: v * tf.stop_gradient(tf.exp(v)))

    def fn(v):
        v = tf.while_loop(
            lambda i, y: i < 3, lambda i, y: (i + 1, y * v + tf.stop_gradient(tf.sin(y))), [0, v]
        )[1]
        v = tf.cond(tf.reduce_sum(v) > -100, lambda: v * tf.stop_gradient(v), lambda: v)
        return nested(v / 10)

    assert check_gradients(fn, x(4)).passed


TRAIN = {"training": True}


RANDOM = {
    "keras": lambda: (keras.Sequential([keras.Input((4,)), L.Dense(3, "tanh"), L.Dropout(0.5), L.GaussianNoise(0.3)]), x(3, 4), TRAIN),
    "stateless": lambda: (lambda v: tf.sin(v) * tf.random.stateless_normal([4], [1, 2]), x(4), {}),
}  # fmt: skip


@pytest.mark.parametrize("kind", RANDOM)
def test_the_reference_draws_what_xla_draws(kind):
    keras.utils.set_random_seed(0)
    fn, inputs, options = RANDOM[kind]()
    report = check_gradients(fn, inputs, variants=("xla",), order=2, **options)
    assert report.passed and report.reference == "promote", report.summary()
    assert not report.warnings


def test_other_draws_do_not_hide_a_wrong_gradient():
    def planted(v, wrong):
        @tf.custom_gradient
        def fn(u):
            return tf.sin(u), lambda dy: dy * tf.cos(u) * (1.05 if wrong() else 1.0)

        return fn(v)

    def eager_only(v):
        return planted(v, tf.executing_eagerly) * tf.random.normal([4])

    def xla_only(v):
        return planted(v, cases.under_xla) * tf.random.stateless_normal([4], [1, 2])

    report = check_gradients(eager_only, x(4), variants=("eager", "graph"))
    assert dict(report.variants) == {"eager": "FAIL", "graph": "PASS"}, report.summary()
    report = check_gradients(xla_only, x(4), variants=("graph", "xla"))
    assert dict(report.variants) == {"graph": "PASS", "xla": "FAIL"}, report.summary()


def test_stateful_random_ops_have_no_seed_under_xla():
    report = check_gradients(lambda v: v * tf.random.normal([4]), x(4), variants=("eager", "xla"))
    assert dict(report.variants) == {"eager": "PASS", "xla": "NONDETERMINISTIC"}


def test_legacy_random_ops_draw_the_same_in_the_reference():
    w = tf.Variable(x(6, 8))

    def fn(v):
        return tf.nn.relu(tf.nn.dropout(tf.nn.relu(v @ w), 0.5)) * tf.random.normal([8])

    report = check_gradients(fn, x(4, 6), variants=("eager", "graph"))
    assert report.passed and report.reference == "promote", report.summary()
