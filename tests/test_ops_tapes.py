"""Gradients as tapes ask for them: of what, how often, from where, and where the recorder is missing."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests import test_ops_modes
from tests.modes import EAGER, STATIC, UNKNOWN_DIMS
from tests.reference import draw
from tests.varied import VARIED, assert_equal, assert_varied, every_mode, gradients, vjps
from tf_einsum_grad import einsum
from tf_einsum_grad.execution import private


@every_mode
def test_gradients_for_some_operands_only(mode):
    def body(case, operands, cotangent):
        found = []
        for x in operands:
            with tf.GradientTape() as tape:
                tape.watch(x)
                result = einsum(case.equation, *operands)
            found.append(tape.gradient(result, x, cotangent))
        return found

    assert_varied(mode, body, vjps)


@every_mode
def test_persistent_and_nested_tapes(mode):
    def body(operands):
        (x,) = operands
        with tf.GradientTape(persistent=True) as outer:
            outer.watch(x)
            with tf.GradientTape(persistent=True) as middle:
                middle.watch(x)
                with tf.GradientTape(persistent=True) as inner:
                    inner.watch(x)
                    y = einsum("i,i,i,i->", x, x, x, x)
                first, again = inner.gradient(y, x), inner.gradient(y, x)
            second = middle.gradient(first, x)
            middle.gradient(again, x)
        return first, again, second, outer.gradient(second, x), outer.gradient(first, x)

    x = draw((5,), np.random.default_rng(0))
    assert_equal(mode.run(body, [x]), (4 * x**3, 4 * x**3, 12 * x**2, 24 * x, 12 * x**2))


@every_mode
def test_the_same_tensor_twice(mode):
    def body(operands):
        (x,) = operands
        with tf.GradientTape() as tape:
            tape.watch(x)
            result = einsum("ij,jk,ki->", x, x, x)
        return tape.gradient(result, x)

    x = draw((3, 3), np.random.default_rng(0))
    assert_equal(mode.run(body, [x]), 3 * (x @ x).T)


@every_mode
def test_complex_conjugation(mode):
    def body(case, operands, cotangent):
        return gradients(case, operands, cotangent)

    inputs = [[c.draw("complex128"), c.draw_cotangent("complex128")] for c in VARIED]
    results = mode.run(
        lambda rows: [body(c, *row) for c, row in zip(VARIED, rows, strict=True)], inputs
    )
    for c, row, got in zip(VARIED, inputs, results, strict=True):
        assert_equal(got, c.reference.vjps(*row))


def test_complex_second_order_is_tensorflows():
    # matmul has TensorFlow's own rules for the same function.
    rng = np.random.default_rng(0)
    a, b = (tf.constant(draw((3, 3), rng, "complex128")) for _ in range(2))

    def second(product):
        with tf.GradientTape() as outer:
            outer.watch([a, b])
            with tf.GradientTape() as inner:
                inner.watch([a, b])
                y = product(a, b)
            g = inner.gradient(y, [a, b])
            z = tf.reduce_sum(g[0] * g[1] * tf.constant(1 + 2j, tf.complex128))
        return outer.gradient(z, [a, b])

    assert_equal(second(lambda x, y: einsum("ij,jk->ik", x, y)), second(tf.matmul))


def test_variables():
    x = tf.constant(draw((4, 3), np.random.default_rng(0)))
    w, v = tf.Variable(tf.ones([3, 2], tf.float64)), tf.Variable(2.0, dtype=tf.float64)

    def gradients():
        with tf.GradientTape() as tape:
            y = einsum("bi,ij,->bj", x, w, v)
        return tape.gradient(y, [w, v])

    total = x.numpy().sum(0)
    for function in (gradients, tf.function(gradients), tf.function(gradients, jit_compile=True)):
        w.assign(tf.ones_like(w))
        assert_equal(function(), [2 * np.stack([total, total], 1), 2 * total.sum()])
        w.assign(3 * tf.ones_like(w))
        assert_equal(function(), [2 * np.stack([total, total], 1), 6 * total.sum()])


def test_sparse_cotangents():
    # The gradient of a gather is tf.IndexedSlices, with an index twice.
    rng = np.random.default_rng(0)
    a, b = tf.constant(draw((4, 3), rng)), tf.constant(draw((3, 2), rng))
    cotangent = np.zeros((4, 2))
    np.add.at(cotangent, [2, 0, 2], 1)

    def gradients():
        with tf.GradientTape() as tape:
            tape.watch([a, b])
            y = tf.gather(einsum("ij,jk->ik", a, b), [2, 0, 2])
        return tape.gradient(y, [a, b])

    for function in (gradients, tf.function(gradients), tf.function(gradients, jit_compile=True)):
        assert_equal(function(), [cotangent @ b.numpy().T, a.numpy().T @ cotangent])


def test_gradients_that_are_none():
    a, b = tf.ones([2, 3]), tf.ones([3, 2])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([a, b])
        y = einsum("ij,jk->ik", tf.stop_gradient(a), b)
        n = einsum("ij,jk->ik", tf.cast(a, tf.int32), tf.cast(b, tf.int32))
    assert tape.gradient(y, a) is None
    assert tape.gradient(y, b) is not None
    assert tape.gradient(n, [a, b]) == [None, None]
    with tf.GradientTape() as tape:
        y = einsum("ij,jk->ik", a, b)
    assert tape.gradient(y, a) is None


def test_inside_the_users_own_custom_gradient():
    @tf.custom_gradient
    def clipped(a, b):
        y = einsum("ij,jk->ik", a, b)

        def vjp(g):
            g = tf.clip_by_value(g, -1.0, 1.0)
            return einsum("ik,jk->ij", g, b), einsum("ij,ik->jk", a, g)

        return y, vjp

    a, b = tf.ones([2, 3]), tf.ones([3, 2])
    for function in (clipped, tf.function(clipped)):
        with tf.GradientTape() as tape:
            tape.watch([a, b])
            y = 100 * function(a, b)
        assert_equal(tape.gradient(y, [a, b]), [2 * np.ones((2, 3)), 2 * np.ones((3, 2))])


@pytest.mark.parametrize("compiled", [False, True])
def test_gradient_through_a_function_from_outside(compiled):
    rng = np.random.default_rng(0)
    arrays = [draw(shape, rng) for shape in ((2, 3), (3, 4), (4, 2))]
    inner = tf.function(lambda a, b: einsum("ij,jk->ik", a, b), jit_compile=compiled)
    outer = tf.function(lambda a, b, c: einsum("ik,ki->", inner(a, b), c), reduce_retracing=True)
    operands = [tf.constant(x) for x in arrays]
    with tf.GradientTape() as second:
        second.watch(operands)
        with tf.GradientTape() as first:
            first.watch(operands)
            y = outer(*operands)
        g = first.gradient(y, operands)
    a, b, c = arrays
    assert_equal(g, [(b @ c).T, (c @ a).T, (a @ b).T])
    # g[0] = (b c)', summed: every row of its gradient for b is the row sums of c, and so on.
    second_b, second_c = np.tile(c.sum(1), (3, 1)), np.tile(b.sum(0)[:, None], (1, 2))
    assert_equal(second.gradient(g[0], operands[1:]), [second_b, second_c])


def test_second_order_of_a_branch():
    # The operands are tensors of the graph around the branch, and of the forward pass.
    rng = np.random.default_rng(0)
    a, b = tf.constant(draw((3, 3), rng)), tf.constant(draw((3, 3), rng))

    @tf.function
    def function(a, b):
        return tf.cond(
            tf.size(a) > 0, lambda: einsum("ij,jk->ik", a, b), lambda: einsum("ij,kj->ik", a, b)
        )

    with tf.GradientTape() as outer:
        outer.watch([a, b])
        with tf.GradientTape() as inner:
            inner.watch([a, b])
            y = function(a, b)
        g = inner.gradient(y, a)  # every row of it the row sums of b
    assert_equal(outer.gradient(g, b), 3 * np.ones((3, 3)))


def test_second_order_of_a_branch_with_unknown_sizes():
    # They are tensors of the branch's graph, and the gradient's gradient is built in another.
    a, b = tf.constant([[1.0, 2.0, 3.0]]), tf.constant([4.0, 5.0])

    @tf.function(input_signature=[tf.TensorSpec([None, None]), tf.TensorSpec([None])])
    def function(a, b):
        squares = lambda: tf.reduce_sum(einsum("ij,k->ijk", a, b) ** 2)  # noqa: E731
        return tf.cond(tf.size(a) > 0, squares, lambda: 0.0)

    with tf.GradientTape() as outer:
        outer.watch([a, b])
        with tf.GradientTape() as inner:
            inner.watch(a)
            y = function(a, b)
        g = inner.gradient(y, a)  # 2 a (b b)
    for got, wanted in zip(outer.gradient(g, [a, b]), (np.full((1, 3), 82), 24 * b), strict=True):
        assert_equal(got, wanted)


def test_relaxed_shapes():
    function = tf.function(lambda a, b: einsum("bij,bjk->bik", a, b), reduce_retracing=True)
    rng = np.random.default_rng(0)
    for b, i, j, k in ((1, 2, 3, 4), (2, 2, 3, 4), (3, 5, 1, 4), (0, 2, 3, 4), (4, 1, 1, 1)):
        x, y = draw((b, i, j), rng), draw((b, j, k), rng)
        assert_equal(function(tf.constant(x), tf.constant(y)), x @ y)
    assert function.experimental_get_tracing_count() < 5


def test_fast_path_is_there():
    # Without it eager mode is right too, but several times slower.
    assert private.HAS_RECORD


def test_without_the_private_recorder(monkeypatch):
    monkeypatch.setattr(private, "HAS_RECORD", False)
    monkeypatch.setattr(private, "_record", None)  # whoever asks it for something fails
    assert_varied(EAGER, gradients, vjps)
    test_ops_modes.test_jacobian(EAGER, True)
    test_ops_modes.test_forward_over_reverse(EAGER)
    test_ops_modes.test_tangents_for_some_operands_only(EAGER)
    test_persistent_and_nested_tapes(EAGER)
    test_gradients_for_some_operands_only(EAGER)
    test_variables()
    test_sparse_cotangents()
    test_gradients_that_are_none()


@pytest.mark.parametrize("mode", [STATIC, UNKNOWN_DIMS], ids=str)
def test_without_an_ops_own_gradient(monkeypatch, mode):
    """Where TensorFlow lets no op have its own, `tf.custom_gradient` says the same."""
    monkeypatch.setattr(private, "HAS_OP_GRADIENT", False)
    monkeypatch.setattr(private, "give_gradient", None)  # whoever asks for it fails
    assert_varied(mode, gradients, vjps)
    test_ops_modes.test_jacobian(mode, True)
    test_ops_modes.test_forward_over_reverse(mode)
    test_gradients_for_some_operands_only(mode)


def test_an_unknown_rank_in_graph_mode_of_tensorflow_1():
    with tf.compat.v1.Graph().as_default():
        a, b = (
            tf.compat.v1.placeholder("float64"),
            tf.compat.v1.placeholder("float64", [None, None]),
        )
        y = einsum("...i,ij->...j", a, b)
        g = tf.compat.v1.gradients(y, [a, b])
        x, w = draw((2, 5, 3), np.random.default_rng(0)), draw((3, 4), np.random.default_rng(1))
        with tf.compat.v1.Session() as session:
            y, *g = session.run([y, *g], {a: x, b: w})
    assert_equal(y, x @ w)
    assert_equal(
        g, [np.ones((2, 5, 4)) @ w.T, np.tensordot(x, np.ones((2, 5, 4)), ((0, 1), (0, 1)))]
    )


def test_names_in_graphs():
    @tf.function
    def function(a, b):
        return einsum("ij,jk->ik", a, b, name="attention")

    graph = function.get_concrete_function(tf.ones([2, 3]), tf.ones([3, 4])).graph
    assert any(op.name.startswith("attention/") for op in graph.get_operations())


def test_threads():
    from concurrent.futures import ThreadPoolExecutor

    inputs = [[c.draw(), c.draw_cotangent()] for c in VARIED]

    def work(i):
        c, row = VARIED[i % len(VARIED)], inputs[i % len(VARIED)]
        return [g.numpy() for g in gradients(c, [tf.constant(x) for x in row[0]], row[1])]

    with ThreadPoolExecutor(8) as pool:
        for i, got in enumerate(pool.map(work, range(96))):
            assert_equal(got, VARIED[i % len(VARIED)].reference.vjps(*inputs[i % len(VARIED)]))
