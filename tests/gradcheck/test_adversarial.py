"""Gradients that are wrong in one respect only, and right ones that look wrong."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L

from tests.gradcheck.cases import normal, under_xla
from tf_einsum_grad.gradcheck import check_gradients


def custom(forward, backward):
    @tf.custom_gradient
    def fn(*args):
        return forward(*args), lambda *dys: backward(*dys, *args)

    return fn


def x(*shape, seed=0, dtype="float32"):
    return tf.cast(normal(seed, *shape), dtype)


def spd(n):
    a = x(n, n)
    return a @ tf.transpose(a) + 4 * tf.eye(n)


def complex_(*shape, seed=0):
    return tf.complex(x(*shape, seed=seed), x(*shape, seed=seed + 9))


def scaled(factor):
    """sin, with a gradient that is off by a factor, which may depend on the point."""

    def backward(dy, v):
        f = factor(v) if callable(factor) else factor
        return dy * tf.cast(f, dy.dtype) * tf.cos(v)

    return custom(tf.sin, backward)


def cosine_off(factor):
    return custom(tf.cos, lambda dy, v: -dy * factor() * tf.sin(v))


def sine_over(cosine):
    return custom(tf.sin, lambda dy, v: dy * cosine(v))


def cholesky_off(a):
    def backward(dy, a):
        with tf.GradientTape() as tape:
            tape.watch(a)
            y = tf.linalg.cholesky(a)
        return 1.01 * tape.gradient(y, a, dy)

    return custom(tf.linalg.cholesky, backward)(a)


def scan_off(xs):
    def step(h, e):
        value, i = e

        @tf.custom_gradient
        def add(h):
            y = tf.tanh(h + value)
            return y, lambda dy: dy * (1 - y**2) * tf.where(i == 3, 1.1, 1.0)

        return add(h)

    return tf.scan(step, (xs, tf.range(6)), initializer=tf.zeros(3))


def two_outputs(v):
    @tf.custom_gradient
    def fn(v):
        return (tf.sin(v), v**2), lambda a, b: a * tf.cos(v)

    return dict(zip("ab", fn(v), strict=True))


def one_row(v):
    return tf.where(tf.range(64)[:, None] == 17, 1.02, 1.0)


def single(n, k, factor):
    return lambda v: tf.tensor_scatter_nd_update(tf.ones(n), [[k]], [factor])


def small():
    return tf.tensor_scatter_nd_update(tf.ones(100), [[7]], [1e-6])


def reusing():
    kept = {}
    return custom(tf.sin, lambda dy, v: dy * kept.setdefault("cosine", tf.cos(v)))


class Held:
    def __init__(self, held):
        self.held = held

    def __call__(self, v):
        return MATMUL_OFF(v, self.held.held)


MATMUL = lambda a, b: a @ b  # noqa: E731
MATMUL_OFF = custom(MATMUL, lambda dy, a, b: (dy @ tf.transpose(b), 1.1 * tf.transpose(a) @ dy))
HELD = Held(Held(tf.Variable(x(4, 3), name="held")))
LABELS = tf.one_hot([0, 2, 1], 4)
CROSS_ENTROPY = lambda z: tf.nn.softmax_cross_entropy_with_logits(LABELS, z)  # noqa: E731

# name: (function, inputs, options, the leaves that are wrong)
WRONG = {
    "0.1%": (scaled(1.001), (x(3, 4),), {}, "inputs[0]"),
    "0.001% in float64": (scaled(1.00001), (x(12, dtype="float64"),), {}, "inputs[0]"),
    "0.7% in float16": (scaled(1.007), (x(6, dtype="float16"),), {}, "inputs[0]"),
    "3% in bfloat16": (scaled(1.03), (x(6, dtype="bfloat16"),), {}, "inputs[0]"),
    "one row of a batch": (scaled(one_row), (x(64, 8),), {}, "inputs[0]"),
    "negative values only": (scaled(lambda v: tf.where(v > 0, 1.0, 1.2)), (x(9),), {}, "inputs[0]"),
    "one of 100,000": (scaled(single(100_000, 777, 2.0)), (x(100_000),), {}, "inputs[0]"),
    "a constant added": (custom(tf.sin, lambda dy, v: dy * tf.cos(v) + 1e-2), (x(6),), {}, "inputs[0]"),
    "a clipped cotangent": (custom(tf.sin, lambda dy, v: tf.clip_by_value(dy, -0.5, 0.5) * tf.cos(v)), (x(6),), {"variants": ("eager", "forward")}, "inputs[0]"),
    "a cotangent clipped at 10": (custom(tf.sin, lambda dy, v: tf.clip_by_value(dy, -10, 10) * tf.cos(v)), (x(6),), {}, "inputs[0]"),
    "one of two outputs": (two_outputs, (x(4),), {}, "v"),
    "two elements swapped": (custom(tf.sin, lambda dy, v: tf.gather(dy * tf.cos(v), [1, 0, 2])), (x(3),), {}, "inputs[0]"),
    "a batch mean": (custom(MATMUL, lambda dy, a, b: (dy @ tf.transpose(b), tf.transpose(a) @ dy / 3)), (x(3, 4), x(4, 2)), {}, "inputs[1]"),
    "the wrong axis of a square": (custom(tf.add, lambda dy, a, b: (dy, tf.reduce_sum(dy, 1))), (x(4, 4), x(4)), {}, "inputs[1]"),
    "no conj": (custom(MATMUL, lambda dy, a, b: (dy @ tf.transpose(b), tf.linalg.adjoint(a) @ dy)), (complex_(2, 3), complex_(3, 2, seed=1)), {}, "inputs[0]"),
    "None for one argument": (custom(tf.multiply, lambda dy, a, b: (None, dy * a)), (x(3), x(3, seed=1)), {}, "inputs[0]"),
    "used twice, counted once": (custom(lambda a, b: a + 2 * b, lambda dy, a, b: (dy, tf.reduce_sum(dy, 0))), (x(3, 4), x(4)), {}, "inputs[1]"),
    "a leaf of other units": (custom(tf.multiply, lambda dy, a, b: (dy * b, 1.05 * dy * a)), (x(5) * 1e6, x(5, seed=1) * 1e-6), {}, "inputs[1]"),
    "a leaf below float32's resolution": (custom(lambda a, b: a + tf.sin(b), lambda dy, a, b: (dy, 1.05 * dy * tf.cos(b))), (x(5) * 1e6, x(5, seed=1) * 1e-3), {}, "inputs[1]"),
    "huge": (custom(lambda v: v * 1e30, lambda dy, v: dy * 1.02e30), (x(4),), {}, "inputs[0]"),
    "tiny": (custom(lambda v: v * 2, lambda dy, v: dy * 1.9), (x(4) * 1e-30,), {}, "inputs[0]"),
    "softmax without its sum": (custom(tf.nn.softmax, lambda dy, z: dy * tf.nn.softmax(z) * (1 - tf.nn.softmax(z))), (x(3, 5),), {}, "inputs[0]"),
    "cross-entropy not times dy": (custom(CROSS_ENTROPY, lambda dy, z: tf.nn.softmax(z) - LABELS), (x(3, 4),), {}, "inputs[0]"),
    "cumsum not reversed": (custom(tf.cumsum, lambda dy, v: tf.cumsum(dy)), (x(5),), {}, "inputs[0]"),
    "one step of a scan": (scan_off, (x(6, 3),), {}, "xs"),
    "in map_fn": (lambda v: tf.map_fn(scaled(1.1), v), (x(3, 2),), {}, "v"),
    "in a py_function": (lambda v: tf.py_function(scaled(1.05), [v], tf.float32), (x(5),), {}, "v"),
    "in what cannot be traced": (lambda v: scaled(1.01)(v) * float(v.numpy().size), (x(5),), {}, "v"),
    "beside a kink": (custom(tf.nn.relu, lambda dy, v: dy * tf.where(v > 0, 0.9, 0.0)), (tf.constant([0.0, 1.0, -1.0, 0.0, 2.0]),), {}, "inputs[0]"),
    "cholesky": (cholesky_off, (spd(4),), {}, "a"),
    "transposed, of a symmetric leaf": (custom(MATMUL, lambda dy, a, b: (b @ tf.transpose(dy), tf.transpose(a) @ dy)), (tf.eye(4), x(4, 4)), {}, "inputs[0]"),
    "second order": (sine_over(cosine_off(lambda: 0.99)), (x(5),), {"order": 2}, "inputs[0]"),
    "second order in a graph": (sine_over(cosine_off(lambda: 1.0 if tf.executing_eagerly() else 0.5)), (x(5),), {"order": 2, "variants": ("eager", "graph")}, "inputs[0]"),
    "second order by numpy": (sine_over(lambda v: tf.numpy_function(np.cos, [v], tf.float32)), (x(5),), {"order": 2}, "inputs[0]"),
    "a backward pass that reuses what its first call computed": (reusing(), (x(5),), {"variants": "eager"}, "inputs[0]"),
    "a small element of a gradient": (custom(lambda v: small() * tf.sin(v), lambda dy, v: dy * single(100, 7, 2.0)(v) * small() * tf.cos(v)), (x(100),), {}, "inputs[0]"),
    "other values in a graph": (lambda v: tf.sin(v) * (1.0 if tf.executing_eagerly() else 1.5), (x(5),), {}, "v"),
    "1% beside an op without a float64 kernel": (lambda v: tf.nn.lrn(v) + scaled(1.01)(v), (x(2, 4, 4, 3),), {}, "v"),
    "a variable of a plain object in another": (HELD, (x(2, 4),), {}, "held"),
    "behind a sampler": (lambda v: scaled(1.01)(tf.random.stateless_gamma([5], [1, 2], v)), (tf.exp(x(5)),), {}, "v"),
    "XLA only": (scaled(lambda v: 1.01 if under_xla() else 1.0), (x(4),), {"variants": ("graph", "xla")}, "inputs[0]"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_is_found_and_named(kind):
    fn, inputs, options, expected = WRONG[kind]
    report = check_gradients(fn, inputs, **options)
    assert report.status in ("FAIL", "MISSING"), report.summary()
    own = [leaf for leaf in report.failed_leaves if "cotangent" not in leaf.name]
    assert [leaf.name for leaf in own if leaf.status in ("FAIL", "MISSING")][:1] == [expected]
    assert len(own) == 1


def quantized(v, e):
    nearest = tf.argmin(tf.reduce_sum((v[:, None] - e[None]) ** 2, -1), 1)
    return v + tf.stop_gradient(tf.gather(e, nearest) - v)


def attention(q, k, v):
    scores = tf.where(np.tril(np.ones((4, 4))) > 0, q @ tf.transpose(k), -np.inf)
    return tf.nn.softmax(scores) @ v


def inner_step(v, w):
    with tf.GradientTape() as tape:
        tape.watch(w)
        loss = tf.reduce_mean((tf.tanh(v @ w) - 1) ** 2)
    return tf.reduce_mean((tf.tanh(v @ (w - 0.1 * tape.gradient(loss, w))) - 1) ** 2)


def shrink(v):
    while tf.reduce_sum(tf.abs(v)) > 1.0:
        v = v * 0.7
    return v


ZEROS_AND_ONES = tf.constant([-1.0, 0.0, 1.0, 1.0, 0.0, -1.0])
# name: (function, inputs, options)
RIGHT = {
    "abs at 0": (tf.abs, (tf.zeros(3),), {}),
    "abs next to 0": (tf.abs, (x(6) * 1e-7,), {}),
    "clip at its border": (lambda v: tf.clip_by_value(v, -1.0, 1.0), (ZEROS_AND_ONES,), {}),
    "ties of a maximum": (tf.maximum, (ZEROS_AND_ONES, ZEROS_AND_ONES[::-1]), {}),
    "ties of top-k": (lambda v: tf.math.top_k(v, 2)[0], (ZEROS_AND_ONES,), {}),
    "sort": (tf.sort, (x(7),), {}),
    "hinge at its kink": (lambda v: keras.losses.hinge(tf.ones(4), v), (tf.ones(4),), {}),
    "vector quantization": (quantized, (x(3, 2), x(5, 2, seed=1)), {}),
    "1e30": (lambda v: v * 3 + 1, (x(5) * 1e30,), {}),
    "1e-30": (lambda v: tf.sin(v) * 2, (x(5) * 1e-30,), {}),
    "other units": (lambda a, b: a * tf.sin(b), (x(5) * 1e6, x(5) * 1e-6), {}),
    "below float32's resolution": (lambda a, b: a + tf.sin(b), (x(5) * 1e6, x(5) * 1e-3), {}),
    "exp at 80": (tf.exp, (80 + x(5),), {}),
    "saturated softmax": (tf.nn.softmax, (x(3, 5) * 100,), {}),
    "saturated sigmoid": (tf.sigmoid, (x(8) * 50,), {}),
    "saturated cross-entropy": (lambda z: tf.nn.sparse_softmax_cross_entropy_with_logits([0, 2, 1], z), (x(3, 5) * 50,), {}),
    "float16 softmax": (tf.nn.softmax, (x(3, 5, dtype="float16") * 20,), {}),
    "casts to float16": (lambda v: tf.cast(tf.cast(v, tf.float16) * 2, tf.float32) ** 2, (x(6),), {}),
    "a masked attention": (attention, (x(4, 3), x(4, 3, seed=1), x(4, 3, seed=2)), {}),
    "cholesky of a symmetric leaf": (tf.linalg.cholesky, (spd(4),), {"variants": ("eager", "forward")}),
    "eigenvalues": (tf.linalg.eigvalsh, (spd(4),), {}),
    "svd": (lambda a: tf.linalg.svd(a, compute_uv=False), (x(4, 3),), {}),
    "an ill-conditioned inverse": (tf.linalg.inv, (x(4, 4) @ tf.linalg.diag([1.0, 1, 1, 1e-3]) @ x(4, 4, seed=1),), {}),
    "norm next to 0": (tf.norm, (x(4) * 1e-10,), {}),
    "sqrt next to 0": (tf.sqrt, (tf.abs(x(4)) * 1e-12,), {}),
    "a double where": (lambda v: tf.where(v > 0, tf.sqrt(tf.where(v > 0, v, 1.0)), 0.0), (x(6),), {}),
    "products of zeros": (lambda v: tf.reduce_prod(v, 1), (tf.reshape(ZEROS_AND_ONES, (3, 2)),), {}),
    "variance far from 0": (lambda v: tf.math.reduce_variance(v, 0), (x(20, 2) + 1e3,), {}),
    "layer norm of equal numbers": (L.LayerNormalization(), tf.concat([x(2, 6), tf.ones((1, 6))], 0), {}),
    "autograph": (shrink, (x(4),), {"variants": ("eager", "graph")}),
    "scan": (lambda v: tf.scan(lambda a, b: tf.tanh(a * b + 1), v), (x(5),), {"variants": ("eager", "graph", "xla")}),
    "vectorized_map": (lambda v: tf.vectorized_map(lambda r: r * tf.reduce_sum(r), v), (x(3, 4),), {}),
    "None among the outputs": (lambda v: {"a": None, "b": [tf.sin(v), tf.shape(v)]}, (x(4),), {}),
    "constant outputs": (lambda v: (v * 0, tf.ones(3), v), (x(4),), {}),
    "a gradient step inside": (inner_step, (x(5, 3), x(3, 1)), {}),
    "a million terms": (lambda v: tf.reduce_sum(tf.sin(v)), (x(10**6),), {"n_directions": 1}),
}  # fmt: skip


@pytest.mark.parametrize("kind", RIGHT)
def test_what_is_right_is_not_flagged(kind):
    fn, inputs, options = RIGHT[kind]
    report = check_gradients(fn, inputs, **options)
    assert report.passed, report.summary()


def test_many_checks_do_not_make_tensorflow_warn_of_retracing(caplog, monkeypatch):
    monkeypatch.setattr(tf.get_logger(), "propagate", True)
    for seed in range(9):
        check_gradients(tf.sin, x(3, seed=seed), variants=("eager", "graph"))
    assert "retracing" not in caplog.text
    for seed in range(9):  # as a plain tf.function would
        tf.function(lambda v: tf.sin(v))(x(3, seed=seed))
    assert "retracing" in caplog.text
