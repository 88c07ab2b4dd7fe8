"""`einsum(..., memory_limit=..., recompute=...)`: values and gradients are those without."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpus import CORPUS, case, cases
from tests.modes import EAGER, STATIC, UNKNOWN_DIMS, XLA
from tests.networks import train_norm
from tf_einsum_grad import PathError, SizeError, einsum, explain
from tf_einsum_grad.planning.limit import Memory

MODES = (EAGER, STATIC, XLA)
SIZES = dict(zip("abcdef", (6, 4, 8, 3, 5, 7), strict=True))
EQUATIONS = (
    "ab,bc->ac",
    "ab,bc,cd->da",
    "abc,acd->adb",
    "ab,ab->",
    "aab,b->ab",
    "ab->ba",
    "ab->bba",
    "a,ab,bc,a->c",
)
every_mode = pytest.mark.parametrize("mode", MODES, ids=str)


def both(c, operands, cotangent, limit, **options):
    with tf.GradientTape() as tape:
        tape.watch(operands)
        y = einsum(c.equation, *operands, memory_limit=limit, **options, **c.kwargs)
    return y, tape.gradient(y, operands, cotangent)


def smallest(c, operands):
    try:
        einsum(c.equation, *operands, memory_limit=1, **c.kwargs)
    except PathError as error:
        return int(str(error).split("memory_limit of ")[1].split(" ")[0])
    return 1


@every_mode
@pytest.mark.parametrize("factor", [1, 8])
def test_values_and_gradients_are_those_of_the_oracle(mode, factor):
    chosen = [case(equation, SIZES) for equation in EQUATIONS]
    rows = [[c.draw(), c.draw_cotangent()] for c in chosen]
    limits = [factor * smallest(c, c.draw()) for c in chosen]

    def body(rows):
        return [both(c, *row, n) for c, row, n in zip(chosen, rows, limits, strict=True)]

    for c, row, (y, gradients) in zip(chosen, rows, mode.run(body, rows), strict=True):
        np.testing.assert_allclose(
            y, c.reference.value(row[0]), rtol=1e-12, atol=1e-12, err_msg=str(c)
        )
        wanted = c.reference.vjps(*row)
        for got, own in zip(gradients, wanted, strict=True):
            np.testing.assert_allclose(got, own, rtol=1e-12, atol=1e-12, err_msg=str(c))


def test_the_corpus_under_the_smallest_limit():
    for c in CORPUS[::61]:
        operands = c.draw()
        limit = smallest(c, operands)
        y = einsum(c.equation, *operands, memory_limit=limit, **c.kwargs)
        np.testing.assert_allclose(
            y, c.reference.value(operands), rtol=1e-12, atol=1e-12, err_msg=str(c)
        )


@settings(max_examples=4)
@given(c=cases(), factor=st.integers(1, 20))
def test_random_equations_under_random_limits(c, factor):
    operands, cotangent = c.draw(), c.draw_cotangent()
    tensors = [tf.constant(x) for x in operands]
    y, gradients = both(c, tensors, cotangent, factor * smallest(c, tensors))
    np.testing.assert_allclose(y, c.reference.value(operands), rtol=1e-12, atol=1e-12)
    for got, own in zip(gradients, c.reference.vjps(operands, cotangent), strict=True):
        np.testing.assert_allclose(got, own, rtol=1e-12, atol=1e-12)


def test_unknown_sizes_are_sliced_one_index_at_a_time_and_may_turn_out_to_be_1():
    for shapes in (((5, 3, 4), (5, 4, 2)), ((1, 3, 4), (5, 4, 2)), ((5, 3, 4), (1, 4, 2))):
        c = case("bij,bjk->kbi", {"b": 5, "i": 3, "j": 4, "k": 2})
        c = type(c)(c.equation, shapes)
        row = [c.draw(), c.draw_cotangent()]
        hints = dict.fromkeys("bijk", 5)
        for n in (200, 2000):
            (y, gradients) = UNKNOWN_DIMS.run(
                lambda row, c=c, n=n, hints=hints: both(c, *row, n, size_hints=hints), row
            )
            np.testing.assert_allclose(y, c.reference.value(row[0]), rtol=1e-12)
            for got, own in zip(gradients, c.reference.vjps(*row), strict=True):
                np.testing.assert_allclose(got, own, rtol=1e-12)
    with pytest.raises(SizeError, match="requires size_hints"):
        UNKNOWN_DIMS.run(lambda row: both(c, *row, 200), row)
    wrong = [[np.ones((3, 3, 4)), np.ones((5, 4, 2))], np.ones((2, 5, 3))]
    with pytest.raises(tf.errors.InvalidArgumentError):
        UNKNOWN_DIMS.run(lambda row: both(c, *row, 200, size_hints=hints), wrong)


@pytest.mark.parametrize("graph", [False, True])
def test_second_order_and_forward_mode(graph):
    c = case("ab,bc,cd->ad", SIZES)
    operands = [tf.constant(x) for x in c.draw()]
    tangents = [tf.constant(x) for x in c.draw(what="tangents")]

    def run(limit):
        with tf.GradientTape() as outer:
            outer.watch(operands)
            with tf.GradientTape() as inner:
                inner.watch(operands)
                y = tf.reduce_sum(tf.sin(einsum(c.equation, *operands, memory_limit=limit)))
            first = inner.gradient(y, operands)
            loss = tf.add_n([tf.reduce_sum(tf.sin(g)) for g in first])
        with tf.autodiff.ForwardAccumulator(operands, tangents) as forward:
            z = einsum(c.equation, *operands, memory_limit=limit)
        return first, outer.gradient(loss, operands), forward.jvp(z)

    function = tf.function(run, autograph=False) if graph else run
    for got, wanted in zip(
        tf.nest.flatten(function(400)), tf.nest.flatten(function(None)), strict=True
    ):
        np.testing.assert_allclose(got, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("equation", ["ab,c->b", "ab,bc,cd->ad", "ab,a,bc,cd,d->"])
def test_a_gradient_of_some_operands_needs_no_step_of_the_others(equation):
    c = case(equation)
    operands, cotangent = [tf.constant(x) for x in c.draw()], c.draw_cotangent()
    for k, wanted in enumerate(c.reference.vjps(c.draw(), cotangent)):
        with tf.GradientTape() as tape:
            tape.watch(operands[k])
            y = einsum(equation, *operands, recompute=True)
        np.testing.assert_array_equal(tape.gradient(y, operands[k], cotangent), wanted)


@pytest.mark.parametrize("dtype", ["complex64", "float16", "bfloat16", "int8", "bool"])
def test_every_kind_of_dtype(dtype):
    c = case("ab,bc,cd->da", SIZES)
    operands = c.draw(dtype)
    tensors = [tf.constant(x) for x in operands]
    limit = smallest(c, tensors)
    wanted = einsum(c.equation, *tensors)
    got = einsum(c.equation, *tensors, memory_limit=limit)
    assert got.dtype == wanted.dtype
    tolerance = {"float16": 2e-3, "bfloat16": 2e-2}.get(dtype, 1e-5)
    kind = np.complex128 if dtype == "complex64" else np.float64
    np.testing.assert_allclose(
        got.numpy().astype(kind), wanted.numpy().astype(kind), tolerance, tolerance
    )
    if dtype in ("int8", "bool"):
        return
    for g, w in zip(
        both(c, tensors, wanted, limit)[1], both(c, tensors, wanted, None)[1], strict=True
    ):
        assert g.dtype == w.dtype
        scale = float(np.abs(w.numpy().astype(kind)).max())
        np.testing.assert_allclose(
            g.numpy().astype(kind), w.numpy().astype(kind), tolerance, tolerance * scale
        )


def test_a_float16_sum_over_slices_does_not_round_on_the_way():
    x = tf.ones([4096], tf.float16)
    assert float(einsum("i,i->", x, x, memory_limit=64)) == 4096.0  # 2048 + 1 is 2048 in float16


def test_half_the_gradients_are_computed_where_half_are_asked_for():
    a, b = tf.random.normal([8, 6]), tf.random.normal([6, 4])
    with tf.GradientTape() as tape:
        tape.watch(b)
        y = einsum("ij,jk->ki", a, b, memory_limit=200)
    np.testing.assert_allclose(
        tape.gradient(y, b), tf.matmul(a, tf.ones([8, 4]), transpose_a=True), 1e-5
    )


def loop_tensors(graph):
    return [
        x for f in graph._functions.values() for op in f.graph.get_operations() for x in op.outputs
    ]


def test_no_tensor_of_a_slice_is_larger_than_the_limit():
    shapes = ((32, 64, 48), (32, 48, 64), (64, 16))
    operands = [tf.TensorSpec(shape) for shape in shapes]
    own = {64 * 48 * 32, 64 * 16, 16 * 64 * 32}  # operands, gradients and the result
    limit = 100_000

    def run(a, b, c):
        with tf.GradientTape() as tape:
            tape.watch([a, b, c])
            y = einsum("aij,ajk,kl->lia", a, b, c, memory_limit=limit)
        return tape.gradient(y, [a, b, c])

    graph = tf.function(run, autograph=False).get_concrete_function(*operands).graph
    tensors = loop_tensors(graph)
    assert any("while" in op.type.lower() for op in graph.get_operations())
    assert len(tensors) > 20
    for x in tensors:
        n = x.shape.num_elements() or 0
        assert 4 * n <= limit or n in own, x


def test_recompute_keeps_operands_only():
    c = case("ab,bc,cd->da", SIZES)
    operands, cotangent = [tf.constant(x) for x in c.draw()], c.draw_cotangent()
    got = both(c, operands, cotangent, None, recompute=True)
    for g, w in zip(
        tf.nest.flatten(got), tf.nest.flatten(both(c, operands, cotangent, None)), strict=True
    ):
        np.testing.assert_allclose(g, w, rtol=1e-12)


def test_bad_values_are_refused_in_words_after_caching_as_before():
    a = tf.ones([2, 2])
    einsum("ij,jk->ik", a, a, memory_limit=1000)
    for limit in ("lots", 0, -1, float("nan"), True, 1000.0):
        with pytest.raises(PathError, match="requires memory_limit to be bytes"):
            einsum("ij,jk->ik", a, a, memory_limit=limit)
    with pytest.raises(PathError, match="requires recompute to be True or False, got 1"):
        einsum("ij,jk->ik", a, a, recompute=1)
    with pytest.raises(PathError, match=r"requires a memory_limit of \d+ bytes or more, got 3"):
        einsum("ij,jk,kl->il", a, a, a, memory_limit=3)
    assert Memory(1) != Memory(None)


def test_sparse_operands_have_no_limit():
    a = tf.sparse.from_dense(tf.eye(3))
    with pytest.raises(ValueError, match="requires dense operands with memory_limit"):
        einsum("ij,jk->ik", a, tf.ones([3, 2]), memory_limit=1000)


@every_mode
def test_many_operands_compute_their_steps_again_a_segment_at_a_time(mode):
    text, shapes = train_norm(9, 6, 3)
    rng = np.random.default_rng(0)
    operands = [rng.normal(size=shape) / 3 for shape in shapes]
    whole = explain(text, *shapes, dtype="float64", recompute=True).memory
    limit = whole.backward_bytes * 5 // 8
    found = explain(text, *shapes, dtype="float64", memory_limit=limit).memory
    assert (found.n_slices, whole.segment) == (1, whole.n_steps)
    assert 1 <= found.segment < whole.n_steps
    assert f"at most {found.segment} of its {found.n_steps} steps at once" in str(
        explain(text, *shapes, dtype="float64", memory_limit=limit)
    )

    def body(operands):
        results = []
        for options in ({}, {"memory_limit": limit}):
            with tf.GradientTape() as tape:
                tape.watch(operands)
                y = einsum(text, *operands, **options)
            results.append([y, *tape.gradient(y, operands)])
        return results

    plain, limited = mode.run(body, operands)
    for got, own in zip(limited, plain, strict=True):
        np.testing.assert_allclose(got, own, rtol=1e-12, atol=1e-12)


def test_a_limit_that_would_take_millions_of_slices_names_the_smallest_that_does_not():
    text, shapes = train_norm(16, 64, 8)
    operands = [tf.zeros(shape) for shape in shapes]
    with pytest.raises(
        PathError, match=r"requires a memory_limit of \d+ bytes or more, got 100000"
    ):
        einsum(text, *operands, memory_limit=100_000)
