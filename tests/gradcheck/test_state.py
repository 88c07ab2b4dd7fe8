"""Afterwards everything is as it was, also when the function raises."""

import random

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L

from tf_einsum_grad.gradcheck import check_gradients


def compiled_model():
    keras.utils.set_random_seed(0)  # three examples can be degenerate for a BatchNorm
    model = keras.Sequential(
        [keras.Input((4,)), L.Dense(3), L.BatchNormalization(), L.Dropout(0.5)]
    )
    model.compile("adam", "mse")
    model.fit(np.ones((4, 4)), np.ones((4, 3)), verbose=0)
    return model


def state_of(model):
    return [np.array(v) for v in (*model.variables, *model.optimizer.variables)]


def test_variables_seeds_and_optimizer_state_are_restored():
    model = compiled_model()
    before = state_of(model)
    report = check_gradients(
        model, tf.random.normal((3, 4)), training=True, order=2, variants=("eager", "graph"),
        n_directions=1,
    )  # fmt: skip
    assert report.passed, report.summary()
    assert report.reference == "promote", report.summary()
    after = state_of(model)
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_global_seeds_are_restored():
    def draws():
        return float(tf.random.uniform([])), random.random(), np.random.uniform()

    tf.random.set_seed(5), random.seed(5), np.random.seed(5)
    expected = draws()
    tf.random.set_seed(5), random.seed(5), np.random.seed(5)
    check_gradients(lambda x: x * tf.random.normal([3]) * np.random.normal(), tf.ones(3))
    assert draws() == expected


@pytest.mark.parametrize("before", [True, False])
def test_float32_is_float32_while_it_is_checked(before):
    asked = tf.config.experimental.tensor_float_32_execution_enabled
    set_to = tf.config.experimental.enable_tensor_float_32_execution
    was, seen = asked(), []
    set_to(before)
    try:
        check_gradients(lambda x: seen.append(asked()) or x * x, tf.ones(3))
        assert seen and not any(seen)
        assert asked() == before
    finally:
        set_to(was)


def test_everything_is_restored_when_the_function_raises():
    model = compiled_model()
    before, policy, floatx = state_of(model), keras.config.dtype_policy(), keras.config.floatx()
    calls = []

    def fn(x):
        keras.config.set_dtype_policy("mixed_bfloat16")
        y = model(x, training=True)
        model.layers[0].kernel.assign(model.layers[0].kernel + 1.0)
        calls.append(1)
        if len(calls) > 2:
            raise RuntimeError("user error")
        return y

    tf.random.set_seed(3)
    expected = float(tf.random.uniform([]))
    tf.random.set_seed(3)
    with pytest.raises(RuntimeError, match="user error"):
        check_gradients(fn, tf.random.stateless_normal((3, 4), [1, 2]))
    assert float(tf.random.uniform([])) == expected
    assert all(np.array_equal(a, b) for a, b in zip(before, state_of(model), strict=True))
    assert keras.config.dtype_policy() == policy and keras.config.floatx() == floatx


def test_a_failing_check_restores_too():
    w = tf.Variable([1.0, 2.0])

    @tf.custom_gradient
    def wrong(v):
        return v * 3, lambda dy: dy

    def fn(x):
        w.assign_add([1.0, 1.0])
        return wrong(x * w)

    assert check_gradients(fn, tf.constant([1.0, 2.0])).status == "FAIL"
    assert w.numpy().tolist() == [1.0, 2.0]
