"""Gradients where TensorFlow takes them apart and puts them together again: pfor, loops, tangents."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.corpus import CORPUS
from tests.modes import EAGER, STATIC, UNKNOWN_DIMS, XLA
from tests.reference import draw
from tests.varied import VARIED, assert_equal, assert_varied, every_mode, gradients, vjps
from tf_einsum_grad import einsum


def jacobian(reference, k, operands):
    n = int(np.prod(reference.output_shape))
    basis = np.eye(n).reshape(n, *reference.output_shape)
    rows = [reference.vjp(k, operands, row) for row in basis]
    return np.reshape(rows, reference.output_shape + reference.shapes[k])


@every_mode
@pytest.mark.parametrize("pfor", [True, False])
def test_jacobian(mode, pfor):
    if mode is XLA and not pfor:
        pytest.skip("XLA cannot stack what a loop of unknown length gives")

    def body(case, operands, cotangent):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(operands)
            result = einsum(case.equation, *operands)
        return [tape.jacobian(result, x, experimental_use_pfor=pfor) for x in operands]

    cases = [c for c in VARIED if np.prod(c.reference.output_shape) < 50]
    assert_varied(
        mode,
        body,
        lambda reference, xs, _: [jacobian(reference, k, xs) for k in range(len(xs))],
        cases if pfor else cases[:6],
    )


def test_jacobian_over_the_corpus():
    cases = [c for c in CORPUS[::27] if np.prod(c.reference.output_shape) > 0]
    for c in cases:
        operands = [tf.constant(x) for x in c.draw()]
        with tf.GradientTape() as tape:
            tape.watch(operands)
            result = einsum(c.equation, *operands, **c.kwargs)
        arrays = [x.numpy() for x in operands]
        got = tape.jacobian(result, operands)
        assert_equal(got, [jacobian(c.reference, k, arrays) for k in range(len(arrays))])


def test_batch_jacobian():
    x = tf.constant(draw((4, 3), np.random.default_rng(0)))
    w = tf.constant(draw((3, 5), np.random.default_rng(1)))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = einsum("bi,ij->bj", x, w)
    assert_equal(tape.batch_jacobian(y, x), np.broadcast_to(w.numpy().T, (4, 5, 3)))


def test_hessian():
    x = tf.constant(draw((3,), np.random.default_rng(0)))
    a = tf.constant(draw((3, 3), np.random.default_rng(1)))
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = einsum("i,ij,j->", x, a, x)
        g = inner.gradient(y, x)
    assert_equal(outer.jacobian(g, x), a.numpy() + a.numpy().T)


@every_mode
def test_vectorized_map(mode):
    # Values and gradients of a batch, of which the einsum knows nothing.
    def body(case, operands, cotangent):
        rows = [tf.stack([x, 2 * x, -x]) for x in (*operands, cotangent)]
        value = tf.vectorized_map(lambda row: einsum(case.equation, *row[:-1]), rows)
        return value, tf.vectorized_map(lambda row: gradients(case, row[:-1], row[-1]), rows)

    def expected(reference, operands, cotangent):
        n = len(operands)
        factors = (1, 2, -1)
        values = [f**n * reference.value(operands) for f in factors]
        vjps = reference.vjps(operands, cotangent)
        return np.stack(values), [np.stack([f**n * g for f in factors]) for g in vjps]

    assert_varied(mode, body, expected)


@pytest.mark.parametrize("mode", [EAGER, STATIC, UNKNOWN_DIMS], ids=str)
def test_map_fn(mode):
    def body(case, operands, cotangent):
        rows = [tf.stack([x, 2 * x]) for x in operands]
        with tf.GradientTape() as tape:
            tape.watch(rows)
            result = tf.map_fn(
                lambda row: einsum(case.equation, *row), rows, fn_output_signature=tf.float64
            )
        return tape.gradient(result, rows, tf.stack([cotangent, cotangent]))

    def expected(reference, operands, cotangent):
        scale = 2 ** (len(operands) - 1)
        return [np.stack([g, scale * g]) for g in reference.vjps(operands, cotangent)]

    assert_varied(mode, body, expected, VARIED[:-1])


@every_mode
def test_while_loop(mode):
    """Gradients of a power, by a loop whose length XLA knows."""

    def body(operands):
        (a,) = operands
        with tf.GradientTape() as tape:
            tape.watch(a)
            _, x = tf.while_loop(
                lambda i, x: i < 3,
                lambda i, x: (i + 1, tf.ensure_shape(einsum("ij,jk->ik", x, a), x.shape)),
                (0, a),
                maximum_iterations=3,
            )
            y = einsum("ii->", x)
        return tape.gradient(y, a)

    a = draw((3, 3), np.random.default_rng(0))
    assert_equal(mode.run(body, [a]), 4 * np.linalg.matrix_power(a, 3).T)


@every_mode
def test_forward_over_reverse(mode):
    # A Hessian-vector product: the derivative of the gradients along the operands themselves.
    def body(case, operands, cotangent):
        with tf.autodiff.ForwardAccumulator(operands, operands) as accumulator:
            g = gradients(case, operands, cotangent)
        return [
            tf.zeros_like(x) if t is None else t
            for x, t in zip(g, map(accumulator.jvp, g), strict=True)
        ]

    # A gradient is a product of n - 1 operands, so along themselves it grows by n - 1 times itself.
    assert_varied(mode, body, lambda r, xs, g: [(len(xs) - 1) * v for v in r.vjps(xs, g)])


@every_mode
def test_reverse_over_forward(mode):
    def body(case, operands, cotangent):
        with tf.GradientTape() as tape:
            tape.watch(operands)
            with tf.autodiff.ForwardAccumulator(operands, operands) as accumulator:
                result = einsum(case.equation, *operands)
            tangent = accumulator.jvp(result)
        return tape.gradient(tangent, operands, cotangent)

    # The tangents are the operands, which the tape watches: the JVP is n times the value.
    assert_varied(mode, body, lambda r, xs, g: [len(xs) * v for v in r.vjps(xs, g)])


@every_mode
def test_tangents_for_some_operands_only(mode):
    def body(case, operands, cotangent):
        tangents = []
        for x in operands:
            with tf.autodiff.ForwardAccumulator(x, 2 * x) as accumulator:
                tangents.append(accumulator.jvp(einsum(case.equation, *operands)))
        return tangents

    assert_varied(mode, body, lambda r, xs, g: [2 * r.value(xs)] * len(xs))


@every_mode
def test_recompute_grad(mode):
    def body(case, operands, cotangent):
        function = tf.recompute_grad(lambda *xs: einsum(case.equation, *xs))
        with tf.GradientTape() as tape:
            tape.watch(operands)
            result = function(*operands)
        return tape.gradient(result, operands, cotangent)

    assert_varied(mode, body, vjps)


@pytest.mark.parametrize("mode", [EAGER, STATIC, XLA], ids=str)
def test_branches(mode):
    def body(operands):
        a, b, index = operands
        with tf.GradientTape() as tape:
            tape.watch([a, b])
            chosen = tf.switch_case(
                index,
                [
                    lambda: einsum("ij,jk->ik", a, b),
                    lambda: einsum("ij,kj->ik", a, b),
                    lambda: einsum("ii,jk->jk", a, b),
                ],
            )
            y = tf.cond(index > 0, lambda: einsum("ij->", chosen), lambda: einsum("ii->", chosen))
        return tape.gradient(y, [a, b])

    rng = np.random.default_rng(0)
    a, b = draw((3, 3), rng), draw((3, 3), rng)
    ones = np.ones((3, 3))
    assert_equal(mode.run(body, [a, b, np.int32(0)]), [b.T, a.T])
    assert_equal(mode.run(body, [a, b, np.int32(1)]), [ones @ b, ones @ a])
    assert_equal(mode.run(body, [a, b, np.int32(2)]), [b.sum() * np.eye(3), np.trace(a) * ones])
