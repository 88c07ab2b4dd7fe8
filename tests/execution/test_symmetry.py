"""One tensor as both operands: its one gradient is native's, to second order and in forward mode."""

import types

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import op_callbacks

import tf_einsum_grad as teg
from tf_einsum_grad.execution import vjp
from tf_einsum_grad.lowering import symmetry

EQUATIONS = [
    "ij,kj->ik",
    "ij,ik->kj",
    "bij,bkj->bki",
    "ij,ij->i",
    "ijk,ikj->i",
    "ij,kj->ki",
    "ij,ij->",
]


def draw(equation, dtype, seed=0):
    shape = {"i": 5, "j": 5, "k": 5, "b": 2}
    rng = np.random.default_rng(seed)
    size = [shape[x] for x in equation.partition(",")[0]]
    x = rng.normal(size=size) + (1j * rng.normal(size=size) if dtype == "complex128" else 0)
    return tf.constant(x, dtype)


def orders(einsum, equation, x, w, v):
    """The gradient, that of its product with `v`, and the derivative along `v`."""

    def f(x):
        y = einsum(equation, x, x)
        return tf.reduce_sum(tf.math.real(w * y * tf.cast(tf.abs(y) ** 2, y.dtype)))

    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            z = f(x)
        first = tape.gradient(z, x)
        along = tf.reduce_sum(tf.math.real(first * v))
    second = outer.gradient(along, x)
    if x.dtype.is_complex:
        return first, second
    with tf.autodiff.ForwardAccumulator(x, v) as accumulator:
        z = f(x)
    return first, second, accumulator.jvp(z)


@pytest.mark.parametrize("equation", EQUATIONS)
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("mode", ["eager", "graph", "unknown", "xla"])
def test_gradients_are_natives(equation, dtype, mode, always):
    x, v = draw(equation, dtype), draw(equation, dtype, seed=1)
    w = tf.constant(1.5, dtype)
    expected = orders(tf.einsum, equation, x, w, v)

    def run(x, w, v):
        return orders(teg.einsum, equation, x, w, v)

    if mode != "eager":
        shape = [None] * x.shape.rank if mode == "unknown" else x.shape
        specs = [tf.TensorSpec(shape, dtype), tf.TensorSpec([], dtype), tf.TensorSpec(shape, dtype)]
        run = tf.function(run, input_signature=specs, jit_compile=mode == "xla", autograph=False)
    for a, b in zip(run(x, w, v), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
    # Of sizes that are unknown, j may turn out to be 1, and k not.
    assert bool(always) == (mode != "unknown" or equation != "ijk,ikj->i")


@pytest.fixture
def always(monkeypatch):
    """One contraction wherever that is right, whatever it costs; the equations of that."""
    seen = []

    def price(contraction):
        dear = contraction.equation.inputs[0] != contraction.equation.inputs[-1]
        return types.SimpleNamespace(microseconds=1e9 if dear else 0.0)

    def mirrored(contraction):
        found = symmetry.mirrored.__wrapped__(contraction)
        seen.extend([] if found is None else [contraction.equation])
        return found

    monkeypatch.setattr(symmetry, "cost_of", price)
    monkeypatch.setattr(vjp, "mirrored", mirrored)
    return seen


def test_a_gram_matrix_takes_one_contraction_backward():
    x, kinds = tf.random.normal([200, 300]), []

    def note(kind, *_, **__):
        kinds.append(kind)

    with tf.GradientTape() as tape:
        tape.watch(x)
        y = teg.einsum("ij,kj->ik", x, x)
    op_callbacks.add_op_callback(note)
    try:
        tape.gradient(y, x)
    finally:
        op_callbacks.remove_op_callback(note)
    assert sum(kind in ("MatMul", "Einsum") for kind in kinds) == 1
