"""Gradients where TensorFlow takes them apart and puts them together again: pfor, loops, tapes."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.corpus import CORPUS, case
from tests.modes import EAGER, STATIC, UNKNOWN_DIMS, XLA, Mode
from tests.reference import draw
from tf_einsum_grad import einsum
from tf_einsum_grad.execution import private

MODES = (EAGER, STATIC, UNKNOWN_DIMS, XLA)
# One equation of every kind of kernel, with their inner workings as various as their gradients.
VARIED = tuple(
    case(equation)
    for equation in (
        "ab,bc->ac",
        "bac,bcd->dba",
        "ab,ab->ab",
        "ab,ab->b",
        "ab,c->cab",
        "aab->ba",
        "abb,bc->ca",
        "ab->b",
        "ab->ba",
        "abcabc->cb",
        "a->aa",
        "a,ab,bc,a->c",
    )
)
every_mode = pytest.mark.parametrize("mode", MODES, ids=str)


def assert_equal(got, wanted):
    tf.nest.assert_same_structure(got, wanted)
    for g, w in zip(tf.nest.flatten(got), tf.nest.flatten(wanted), strict=True):
        np.testing.assert_array_equal(g, w)


def assert_varied(mode: Mode, body, expected, cases=VARIED):
    """`body(case, operands, cotangent)` in a mode, against `expected(reference, ...)`."""
    inputs = [[c.draw(), c.draw_cotangent()] for c in cases]
    results = mode.run(
        lambda rows: [body(c, *row) for c, row in zip(cases, rows, strict=True)], inputs
    )
    for c, row, got in zip(cases, inputs, results, strict=True):
        assert_equal(got, expected(c.reference, *row))


def gradients(case, operands, cotangent):
    with tf.GradientTape() as tape:
        tape.watch(operands)
        result = einsum(case.equation, *operands, **case.kwargs)
    return tape.gradient(result, operands, cotangent)


def vjps(reference, operands, cotangent):
    return reference.vjps(operands, cotangent)


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
def test_recompute_grad(mode):
    def body(case, operands, cotangent):
        function = tf.recompute_grad(lambda *xs: einsum(case.equation, *xs))
        with tf.GradientTape() as tape:
            tape.watch(operands)
            result = function(*operands)
        return tape.gradient(result, operands, cotangent)

    assert_varied(mode, body, vjps)


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
    assert_varied(EAGER, gradients, vjps)
    test_persistent_and_nested_tapes(EAGER)
    test_forward_over_reverse(EAGER)
    test_tangents_for_some_operands_only(EAGER)
    test_gradients_for_some_operands_only(EAGER)
    test_jacobian(EAGER, True)
    test_variables()
    test_sparse_cotangents()
    test_gradients_that_are_none()


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
