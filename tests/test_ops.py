"""The public `einsum`: dtypes, random equations, native as a second opinion, the question itself."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.corpus import CORPUS, Case, case, cases
from tests.modes import EAGER, STATIC, UNKNOWN_DIMS, UNKNOWN_RANK, XLA
from tests.reference import draw
from tests.test_ops_corpus import all_orders, check, first_order
from tf_einsum_grad import einsum
from tf_einsum_grad.algebra.roles import UNKNOWN_SIZE

FLOATS = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")
DEVICES = ("CPU:0", "GPU:0")
SOME = tuple(
    map(case, ("ab,bc->ac", "bac,bcd->dba", "ab,ab->", "aab->ba", "ab->b", "a->aa", "a,ab,bc->c"))
)
QUESTION = "ijkm,ijkn->imn"


@pytest.fixture(params=DEVICES)
def device(request):
    if not tf.config.list_logical_devices(request.param.partition(":")[0]):
        pytest.skip(f"this machine has no {request.param}")
    with tf.device(request.param):
        yield request.param


def value_and_gradients(function, operands, cotangent):
    with tf.GradientTape() as tape:
        tape.watch(operands)
        value = function(*operands)
    return [value, *tape.gradient(value, operands, cotangent)]


@given(cases())
@settings(max_examples=150)
def test_random_equations(case):
    check([case], EAGER, all_orders)


@pytest.mark.parametrize("mode", [STATIC, UNKNOWN_DIMS, UNKNOWN_RANK, XLA], ids=str)
@given(drawn=st.lists(cases(max_operands=3), min_size=8, max_size=8))
@settings(max_examples=3, phases=[Phase.generate])  # to shrink would be to compile a hundred times
def test_random_equations_in_graphs(mode, drawn):
    def body(case, *arguments):
        # Where a size is not known to be 0, TensorFlow's forward mode fails to gather from nothing.
        nothing = mode in (UNKNOWN_DIMS, UNKNOWN_RANK) and any(0 in shape for shape in case.shapes)
        return (first_order if nothing else all_orders)(case, *arguments)

    check(drawn, mode, body)


def test_native_agrees_where_it_takes_the_equation():
    agreed = 0
    for c in CORPUS[::4]:
        operands, cotangent = [tf.constant(x) for x in c.draw()], tf.constant(c.draw_cotangent())
        native, ours = (partial(function, c.equation) for function in (tf.einsum, einsum))
        try:
            wanted = value_and_gradients(native, operands, cotangent)
        except (ValueError, tf.errors.OpError):
            continue  # it does not
        if not c.sizes:
            got = value_and_gradients(ours, operands, cotangent)
            for mine, theirs in zip(got, wanted, strict=True):
                np.testing.assert_array_equal(mine, theirs, err_msg=str(c))
            agreed += 1
    assert agreed > 100


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("compiled", [None, False, True])
def test_dtypes(device, dtype, compiled):
    # Small integers: every dtype holds them, and their sums, exactly.
    def run(rows):
        return [
            value_and_gradients(partial(einsum, c.equation), operands, cotangent)
            for c, (operands, cotangent) in zip(SOME, rows, strict=True)
        ]

    kind = "complex128" if dtype.startswith("complex") else "float64"
    inputs = [(c.draw(kind), c.draw_cotangent(kind)) for c in SOME]
    tensors = tf.nest.map_structure(lambda x: tf.cast(x, dtype), inputs)
    function = run if compiled is None else tf.function(run, jit_compile=compiled)
    for c, (operands, cotangent), got in zip(SOME, inputs, function(tensors), strict=True):
        wanted = [c.reference.value(operands), *c.reference.vjps(operands, cotangent)]
        for g, w in zip(got, wanted, strict=True):
            assert g.dtype.name == dtype
            np.testing.assert_allclose(tf.cast(g, kind), w, rtol=2**-7, err_msg=str(c))


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_question_small(device, dtype):
    rng = np.random.default_rng(0)
    kind = "complex128" if dtype.startswith("complex") else "float64"
    shapes = ((4, 7, 7, 16), (4, 7, 7, 16), (4, 16, 16))
    a, b, g = (tf.cast(rng.standard_normal(shape), dtype) for shape in shapes)
    got = value_and_gradients(partial(einsum, QUESTION), [a, b], g)
    reference = Case(QUESTION, shapes[:2]).reference
    wide = [tf.cast(x, kind).numpy() for x in (a, b, g)]
    wanted = [reference.value(wide[:2]), *reference.vjps(wide[:2], wide[2])]
    eps = {"float16": 2**-9, "bfloat16": 2**-6, "float32": 1e-5, "complex64": 1e-5}.get(
        dtype, 1e-12
    )
    for mine, right in zip(got, wanted, strict=True):
        assert mine.dtype.name == dtype
        np.testing.assert_allclose(
            tf.cast(mine, kind), right, rtol=eps, atol=eps * np.abs(right).max()
        )


def test_the_question(device):
    shape = (100, 28, 28, 512)
    a, b = (tf.random.stateless_normal(shape, (0, seed)) for seed in range(2))
    g = tf.random.stateless_normal((100, 512, 512), (0, 2))
    native = tf.function(
        lambda a, b, g: value_and_gradients(lambda *x: tf.einsum(QUESTION, *x), [a, b], g)
    )
    ours = tf.function(
        lambda a, b, g: value_and_gradients(lambda *x: einsum(QUESTION, *x), [a, b], g)
    )
    tolerance = 1e-4 if device.startswith("CPU") else 1e-2  # GPUs may round to TensorFloat-32
    for mine, theirs in zip(ours(a, b, g), native(a, b, g), strict=True):
        scale = tf.reduce_max(tf.abs(theirs))
        assert tf.reduce_max(tf.abs(mine - theirs)) < tolerance * scale


def test_options_reach_graphs():
    asked = []

    def optimizer(inputs, output, sizes, memory_limit=None):
        asked.append(dict(sizes))
        return [(1, 2), (0, 1)]

    function = tf.function(
        lambda a, b, c: einsum("ij,jk,kl->il", a, b, c, optimize=optimizer, size_hints={"j": 9}),
        input_signature=[tf.TensorSpec([None, None])] * 3,
    )
    got = function(tf.ones([2, 3]), tf.ones([3, 4]), tf.ones([4, 5]))
    assert got.numpy().tolist() == [[12.0] * 5] * 2
    assert asked == [{"i": UNKNOWN_SIZE, "j": 9, "k": UNKNOWN_SIZE, "l": UNKNOWN_SIZE}]


@pytest.mark.parametrize("size", [lambda x: tf.size(x), lambda x: tf.size(x, tf.int64)])
def test_sizes_may_be_tensors(size):
    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = einsum("i->jik", x, sizes={"j": size(x), "k": 2})
        return y, tape.gradient(y, x)

    x = tf.range(3.0)
    graph = tf.function(run, input_signature=[tf.TensorSpec([None])])
    for found, gradient in (run(x), graph(x)):
        np.testing.assert_array_equal(found, np.broadcast_to(x[:, None], (3, 3, 2)))
        np.testing.assert_array_equal(gradient, [6.0] * 3)


def test_sizes_of_an_ellipsis_may_be_a_list():
    assert einsum("i->...i", tf.ones([2]), sizes={"...": [3, 4]}).shape == (3, 4, 2)


@pytest.mark.parametrize("equation", ["...,...jk->...jk", "...,j...k->j...k", "...,jk...->...jk"])
def test_an_ellipsis_of_unknown_rank_beside_a_known_shape(equation):
    x, y = np.arange(2.0), np.arange(24.0).reshape(2, 3, 4)
    y = {"j...k": y.swapaxes(0, 1), "jk...": np.moveaxis(y, 0, 2)}.get(equation[4:9], y)
    function = tf.function(
        lambda x, y: einsum(equation, x, y),
        input_signature=[tf.TensorSpec(None, tf.float64), tf.TensorSpec(y.shape, tf.float64)],
    )
    np.testing.assert_array_equal(function(x, y), np.einsum(equation, x, y))


def test_graphs_and_xla_have_lowerings_of_their_own():
    def op_types(compiled):
        x = tf.ones([4, 4, 4, 4])
        function = tf.function(lambda: einsum("bthd,bshd->bhts", x, x), jit_compile=compiled)
        return {op.type for op in function.get_concrete_function().graph.get_operations()}

    assert "Einsum" in op_types(False) and "Einsum" not in op_types(True)


@pytest.mark.parametrize("dtype", [tf.float64, tf.float32, tf.bfloat16])
@pytest.mark.parametrize("number", [np.float32(2), np.float64(2), np.int64(2), np.array(2)])
def test_numpys_numbers_take_the_dtype_of_a_tensor(dtype, number):
    result = einsum("i,->i", tf.ones([3], dtype), number)
    assert result.dtype == dtype and result.numpy().tolist() == [2.0] * 3


def test_an_identity_shares_its_buffer():
    graph = tf.function(lambda x: einsum("ab->ab", x)).get_concrete_function(tf.ones([2, 3])).graph
    assert {op.type for op in graph.get_operations()} <= {"Placeholder", "Identity", "NoOp"}


@pytest.mark.parametrize(
    ("operands", "dtype"),
    [((2, 3), tf.int32), ((3, 2.0), tf.float32), ((True, 3), tf.int32), ((2.0, 1j), tf.complex128)],
)
def test_python_numbers_among_themselves_take_the_widest_dtype(operands, dtype):
    result = einsum(",->", *operands)
    assert result.dtype == dtype
    assert result == operands[0] * operands[1]


Q, K, SCORES = ["batch", "query", "head"], ["batch", "key", "head"], ["batch", "query", "key"]


@pytest.mark.parametrize("mode", [EAGER, STATIC, UNKNOWN_DIMS, UNKNOWN_RANK, XLA], ids=str)
def test_names_as_labels(mode):
    rng = np.random.default_rng(0)
    query, key, cotangent = (draw(shape, rng) for shape in ((2, 3, 4), (2, 5, 4), (2, 3, 5)))

    def body(inputs):
        query, key, cotangent = inputs
        with tf.GradientTape() as tape:
            tape.watch([query, key])
            scores = einsum(query, Q, key, K, SCORES)
        whole = einsum(query, [..., "query", "head"], key, [..., "key", "head"], [..., "key"])
        new = einsum(query, Q, ["head", "new"], sizes={"new": 2}, size_hints={"query": 3})
        return scores, tape.gradient(scores, [query, key], cotangent), whole, new

    scores, (d_query, d_key), whole, new = mode.run(body, [query, key, cotangent])
    np.testing.assert_array_equal(scores, np.einsum("bqh,bkh->bqk", query, key))
    np.testing.assert_array_equal(d_query, np.einsum("bqk,bkh->bqh", cotangent, key))
    np.testing.assert_array_equal(d_key, np.einsum("bqk,bqh->bkh", cotangent, query))
    np.testing.assert_array_equal(whole, np.einsum("bqh,bkh->bk", query, key))
    np.testing.assert_array_equal(new, np.einsum("bqh->h", query)[:, np.newaxis].repeat(2, 1))


def test_names_are_sorted_where_there_is_no_output():
    x = draw((2, 3), np.random.default_rng(0))
    np.testing.assert_array_equal(einsum(x, ["row", "column"]), x.T)
