"""Planted bugs and correct functions, shared by the tests and by ci/gradcheck_comparison.

Every case is a function of a seed that returns (fn, inputs, options). What a case expects is its
place: `BUGS` must be caught, `CORRECT` must not be flagged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

Case = tuple[Any, Any, dict[str, Any]]
BUGS: dict[str, tuple[Callable[[int], Case], tuple[str, ...]]] = {}
CORRECT: dict[str, tuple[Callable[[int], Case], tuple[str, ...]]] = {}


def bug(*statuses: str) -> Callable[[Callable[[int], Case]], Callable[[int], Case]]:
    """Register a case that must be reported with one of these statuses (FAIL by default)."""

    def register(make: Callable[[int], Case]) -> Callable[[int], Case]:
        BUGS[make.__name__] = make, statuses or ("FAIL",)
        return make

    return register


def correct(*statuses: str) -> Callable[[Callable[[int], Case]], Callable[[int], Case]]:
    """Register a case that must pass, with one of these statuses (PASS by default)."""

    def register(make: Callable[[int], Case]) -> Callable[[int], Case]:
        CORRECT[make.__name__] = make, statuses or ("PASS",)
        return make

    return register


def normal(seed: int, *shape: int, dtype: Any = np.float32) -> Any:
    return tf.constant(np.random.default_rng(seed).normal(size=shape).astype(dtype))


# ---------------------------------------------------------------- must be caught


@bug()
def wrong_tanh_formula(seed: int) -> Case:
    @tf.custom_gradient
    def fn(x):
        y = tf.tanh(x)
        return y, lambda dy: dy * (1 - y)

    return fn, (normal(seed, 3, 4),), {}


@bug()
def sign_flip_in_one_argument(seed: int) -> Case:
    @tf.custom_gradient
    def fn(x, y):
        return x * tf.sin(y), lambda dy: (dy * tf.sin(y), -dy * x * tf.cos(y))

    return fn, (normal(seed, 5), normal(seed + 1, 5)), {}


@bug()
def missing_transpose_on_square_matmul(seed: int) -> Case:
    @tf.custom_gradient
    def fn(a, b):
        def grad(dy):
            return tf.matmul(dy, b), tf.matmul(a, dy, transpose_a=True)

        return tf.matmul(a, b), grad

    return fn, (normal(seed, 4, 4), normal(seed + 1, 4, 4)), {}


@bug()
def bias_gradient_mean_instead_of_sum(seed: int) -> Case:
    @tf.custom_gradient
    def fn(x, b):
        return x + b, lambda dy: (dy, tf.reduce_mean(dy, 0))

    return fn, (normal(seed, 6, 3), normal(seed + 1, 3)), {}


@bug()
def one_of_10000_elements_off_by_10_percent(seed: int) -> Case:
    scale = np.ones(10000, np.float32)
    scale[7 + 97 * seed] = 1.1

    @tf.custom_gradient
    def fn(x):
        return tf.sin(x), lambda dy: dy * tf.cos(x) * scale

    return fn, (normal(seed, 10000) * 0.3,), {}


@bug()
def cotangent_ignored(seed: int) -> Case:
    @tf.custom_gradient
    def fn(x):
        return x**2, lambda dy: 2 * x

    return fn, (normal(seed, 4),), {}


@bug("MISSING")
def variable_cut_off_by_numpy_function(seed: int) -> Case:
    w = tf.Variable(normal(seed, 3), name="w")

    def fn(x):
        return x * tf.numpy_function(np.tanh, [w], tf.float32)

    return fn, (normal(seed + 1, 3),), {}


@bug()
def duplicate_gather_indices_not_summed(seed: int) -> Case:
    indices = tf.constant([[0], [2], [2]])

    @tf.custom_gradient
    def fn(x):
        def grad(dy):
            return tf.tensor_scatter_nd_update(tf.zeros_like(x), indices, dy)

        return tf.gather_nd(x, indices), grad

    return fn, (normal(seed, 4, 2),), {}


@bug()
def complex_xdivy(seed: int) -> Case:
    x = tf.complex(normal(seed, 4), normal(seed + 1, 4))
    return tf.math.xdivy, (x, tf.complex(normal(seed + 2, 4), normal(seed + 3, 4))), {}


@bug()
def wrong_only_inside_tf_function(seed: int) -> Case:
    @tf.custom_gradient
    def fn(x):
        factor = 1.0 if tf.executing_eagerly() else 2.0
        return tf.sin(x), lambda dy: factor * dy * tf.cos(x)

    return fn, (normal(seed, 4),), {"variants": ("eager", "graph")}


@bug()
def layernorm_without_its_mean_term(seed: int) -> Case:
    @tf.custom_gradient
    def fn(x):
        mean = tf.reduce_mean(x, -1, keepdims=True)
        inverse = tf.math.rsqrt(tf.math.reduce_variance(x, -1, keepdims=True) + 1e-5)
        y = (x - mean) * inverse

        def grad(dy):
            return inverse * (dy - y * tf.reduce_mean(dy * y, -1, keepdims=True))

        return y, grad

    return fn, (normal(seed, 4, 6),), {}


@bug()
def wrong_second_order_sign(seed: int) -> Case:
    @tf.custom_gradient
    def sine_slope(x):
        return tf.cos(x), lambda dy: dy * tf.sin(x)

    @tf.custom_gradient
    def fn(x):
        return tf.sin(x), lambda dy: dy * sine_slope(x)

    return fn, (normal(seed, 4),), {"order": 2}


@bug("MISSING", "FAIL")
def stop_gradient_inside_a_gradient(seed: int) -> Case:
    @tf.custom_gradient
    def fn(x):
        return tf.sin(x), lambda dy: dy * tf.stop_gradient(tf.cos(x))

    return fn, (normal(seed, 4),), {"order": 2}


@bug()
def wrong_only_under_xla(seed: int) -> Case:
    def by_xla(dy, x):
        # XLA drops numerics checks and runs no host code; this asks the graph itself instead.
        return dy * tf.cos(x) * (1 + float(under_xla()))

    @tf.custom_gradient
    def fn(x):
        return tf.sin(x), lambda dy: by_xla(dy, x)

    return fn, (normal(seed, 4),), {"variants": ("eager", "xla")}


def under_xla() -> bool:
    """Whether the code being traced will be compiled by XLA."""
    from tensorflow.python.framework import ops
    from tensorflow.python.ops import control_flow_util

    graph = ops.get_default_graph()
    return not tf.executing_eagerly() and bool(control_flow_util.GraphOrParentsInXlaContext(graph))


# ---------------------------------------------------------------- must not be flagged


@correct("PASS_NEARBY")
def relu_at_ties(seed: int) -> Case:
    x = normal(seed, 6).numpy()
    x[::2] = 0
    return tf.nn.relu, (tf.constant(x),), {}


@correct("PASS_NEARBY")
def max_pool_at_ties(seed: int) -> Case:
    x = np.random.default_rng(seed).integers(0, 2, (1, 4, 4, 2)).astype(np.float32)
    x[0, :2, :2, 0] = 1
    return (lambda x: tf.nn.max_pool2d(x, 2, 2, "VALID")), (tf.constant(x),), {}


@correct()
def dropout_while_training(seed: int) -> Case:
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(6, "tanh"), keras.layers.Dropout(0.5)]
    )
    return model, normal(seed, 3, 4), {"training": True}


@correct()
def batch_norm_while_training(seed: int) -> Case:
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(5), keras.layers.BatchNormalization()]
    )
    return model, normal(seed, 6, 4), {"training": True}


@correct()
def embedding_and_sparse_cross_entropy(seed: int) -> Case:
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [keras.Input((4,), dtype="int32"), keras.layers.Embedding(7, 3), keras.layers.Dense(5)]
    )
    ids = tf.constant(np.random.default_rng(seed).integers(0, 7, (2, 4)), tf.int32)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return model, ids, {"loss": lambda y: loss(ids % 5, y)}


@correct()
def unused_variable(seed: int) -> Case:
    used, unused = tf.Variable(normal(seed, 3)), tf.Variable(normal(seed + 1, 3))
    return (lambda x: x * used), (normal(seed + 2, 3),), {"variables": [used, unused]}


@correct()
def large_offset_plus_tanh(seed: int) -> Case:
    return (lambda x: 1e4 + tf.tanh(x)), (normal(seed, 8),), {}


@correct()
def mixed_bfloat16(seed: int) -> Case:
    return _mixed(seed, "mixed_bfloat16")


@correct()
def mixed_float16(seed: int) -> Case:
    return _mixed(seed, "mixed_float16")


def _mixed(seed: int, policy: str) -> Case:
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(8, "gelu", dtype=policy),
            keras.layers.LayerNormalization(dtype=policy),
            keras.layers.Dense(3, dtype="float32"),
        ]
    )
    return model, normal(seed, 4, 5), {}


@correct("PASS", "PASS_NEARBY")
def straight_through_estimator(seed: int) -> Case:
    w = tf.Variable(normal(seed, 4, 3), name="w")

    def fn(x):
        quantized = w + tf.stop_gradient(tf.round(w * 4) / 4 - w)
        return tf.tanh(x @ quantized)

    return fn, (normal(seed + 1, 2, 4),), {}


@correct()
def inputs_at_1e6(seed: int) -> Case:
    return (lambda x: tf.sin(x * 1e-6) * x), (normal(seed, 6) * 1e6,), {}


@correct()
def inputs_at_1e_minus_6(seed: int) -> Case:
    return (lambda x: tf.tanh(x) / (1 + x**2)), (normal(seed, 6) * 1e-6,), {}


@correct()
def complex_fft(seed: int) -> Case:
    x = tf.complex(normal(seed, 8), normal(seed + 1, 8))
    return (lambda x: tf.abs(tf.signal.fft(x)) ** 2), (x,), {}


@correct()
def top_k(seed: int) -> Case:
    return (lambda x: tf.math.top_k(x, 3)), (normal(seed, 2, 8),), {}


@correct()
def while_loop(seed: int) -> Case:
    def fn(x):
        return tf.while_loop(lambda i, y: i < 4, lambda i, y: (i + 1, tf.sin(y) * x), [0, x])[1]

    return fn, (normal(seed, 5),), {}


@correct("PASS", "PASS_NEARBY")
def deep_relu_stack(seed: int) -> Case:
    keras.utils.set_random_seed(seed)
    layers = [keras.layers.Dense(32, "relu") for _ in range(8)]
    model = keras.Sequential([keras.Input((16,)), *layers, keras.layers.Dense(2)])
    return model, normal(seed, 8, 16), {}


@correct()
def lstm(seed: int) -> Case:
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input((5, 3)), keras.layers.LSTM(4)])
    return model, normal(seed, 2, 5, 3), {}
