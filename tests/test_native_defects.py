"""What native `tf.einsum` gets wrong or wastes, and what holds here in its place."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import tf_einsum_grad as teg
from tests.reference import Reference, draw
from tf_einsum_grad.execution.vjp import Rule

einsum = teg.einsum


def in_mode(compiled, function):
    """Eager for None, a graph for False, XLA for True."""
    return function if compiled is None else tf.function(function, jit_compile=compiled)


def gradient_graph(function, *shapes, dtype=tf.float32):
    """The graph of a function's gradients for all its operands."""

    @tf.function(input_signature=[tf.TensorSpec(shape, dtype) for shape in shapes])
    def gradients(*operands):
        with tf.GradientTape() as tape:
            tape.watch(operands)
            result = function(*operands)
        return tape.gradient(result, operands)

    return gradients.get_concrete_function().graph


def largest_tensor(graph):
    """Elements of the largest tensor in a graph, nested functions included."""
    library = graph.as_graph_def().library.function
    assert not library, "the sizes inside nested functions would go unseen"
    shapes = [tensor.shape for op in graph.get_operations() for tensor in op.outputs]
    return max(shape.num_elements() or 0 for shape in shapes)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("...k,kn->...n", [(32, 128, 64), (64, 48)]),
        ("...x,xy->...y", [(8, 16, 32), (32, 24)]),  # from the docstring of Keras' EinsumDense
    ],
)
def test_a_summed_ellipsis_is_not_materialized(equation, shapes):
    graph = gradient_graph(lambda x, w: einsum(equation, x, w), *shapes)
    assert largest_tensor(graph) == np.prod(shapes[0])  # an operand: nothing is larger


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
@pytest.mark.parametrize("compiled", [None, False, True])
@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij->i", [(1, 4096)]),
        ("ij->", [(64, 64)]),
        ("ij,ij->i", [(1, 4096), (1, 4096)]),
        ("i,i->", [(4096,), (4096,)]),
        ("bij,bjk->bik", [(1, 2, 4096), (1, 4096, 2)]),
        ("ijk,jik->", [(8, 8, 64), (8, 8, 64)]),
        ("aij,jib->ab", [(2, 64, 64), (64, 64, 2)]),
        ("iij->", [(64, 64, 64)]),
    ],
)
def test_half_types_accumulate_in_float32(equation, shapes, dtype, compiled):
    # 4096 times about 0.01: a float16 sum stands still at 32, a bfloat16 sum at 4.
    operands = [tf.fill(shapes[0], tf.constant(0.01, dtype))]
    operands += [tf.ones(shape, dtype) for shape in shapes[1:]]
    function = in_mode(compiled, lambda *xs: einsum(equation, *xs))
    wanted = 4096 * float(operands[0].numpy().flat[0])
    np.testing.assert_allclose(
        np.asarray(function(*operands), "float64"),
        wanted,
        rtol=2**-10 if dtype == tf.float16 else 2**-8,
    )


@pytest.mark.parametrize("compiled", [None, False, True])
def test_products_beyond_float16_are_summed(compiled):
    x = tf.repeat(tf.constant([[300.0], [-300.0], [1.0]], tf.float16), 512, axis=1)
    y = tf.fill([3, 512], tf.constant(300.0, tf.float16))
    got = in_mode(compiled, lambda x, y: einsum("cb,cb->b", x, y))(x, y)
    np.testing.assert_array_equal(got, np.full(512, 300.0))  # 90000 - 90000 + 300


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_gradients_accumulate_in_float32(dtype):
    x, y = tf.fill([4096, 2], tf.constant(0.01, dtype)), tf.ones([4096], dtype)
    with tf.GradientTape() as tape:
        tape.watch([x, y])
        result = einsum("bi,i->bi", x, y[:2]) + einsum("bi,b->bi", x, y)
    gradient = tape.gradient(result, y)
    wanted = [4096 * float(x[0, 0]) + 0.02] * 2 + [0.02] * 4094
    np.testing.assert_allclose(np.asarray(gradient, "float64"), wanted, rtol=2**-7)


def test_native_aborts_the_process_at_two_ellipses():
    code = "import tensorflow as tf; tf.einsum('...i...->i...', tf.ones([2, 3, 4]))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=120, check=False
    )
    assert done.returncode < 0, "native no longer aborts"


DIAGONALS = ["ii->i", "ii->", "iij->ij", "ijkk->ij", "bii->bi", "ii,i->i", "...ii->...i"]


@pytest.mark.parametrize("equation", DIAGONALS)
def test_jacobians_of_diagonals(equation):
    shapes = [(3,) * len(term.replace("...", ".")) for term in equation.split("->")[0].split(",")]
    rng = np.random.default_rng(0)
    operands = [tf.constant(draw(shape, rng)) for shape in shapes]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(operands)
        result = einsum(equation, *operands)
    reference = Reference(equation, shapes)
    arrays = [x.numpy() for x in operands]
    basis = np.eye(result.shape.num_elements()).reshape(-1, *result.shape)
    for k, x in enumerate(operands):
        wanted = np.stack([reference.vjp(k, arrays, row) for row in basis])
        jacobian = tape.jacobian(result, x, experimental_use_pfor=True)
        np.testing.assert_array_equal(jacobian, wanted.reshape(result.shape + x.shape))


@pytest.mark.parametrize("equation", DIAGONALS)
def test_gradients_of_diagonals_under_vectorized_map(equation):
    shapes = [(5, *(3,) * len(t.replace("...", "."))) for t in equation.split("->")[0].split(",")]
    rng = np.random.default_rng(0)
    operands = [tf.constant(draw(shape, rng)) for shape in shapes]

    def gradients(row):
        with tf.GradientTape() as tape:
            tape.watch(row)
            result = einsum(equation, *row)
        return tape.gradient(result, row)

    got = tf.vectorized_map(gradients, operands)
    for i in range(5):
        reference = Reference(equation, [shape[1:] for shape in shapes])
        row = [x.numpy()[i] for x in operands]
        for k in range(len(row)):
            wanted = reference.vjp(k, row, np.ones(reference.output_shape))
            np.testing.assert_array_equal(got[k][i], wanted)


def test_sublists_lists_and_numbers():
    a, b = draw((2, 3), np.random.default_rng(0)), draw((3, 4), np.random.default_rng(1))
    for arguments in (
        (a, [0, 1], b, [1, 2]),
        (a, [0, 1], b, [1, 2], [2, 0]),
        (a, [..., 0], [0, ...]),
    ):
        np.testing.assert_array_equal(einsum(*arguments), np.einsum(*arguments))
    got = einsum(",ij,j->i", 2, a, [1, 2, 3])
    assert got.dtype == tf.float64
    np.testing.assert_array_equal(got, 2 * a @ [1, 2, 3])
    assert einsum("i,i->", [1, 2], [3, 4]).numpy() == 11
    assert einsum(",", 2.0, 3.0).dtype == tf.float32


def test_more_labels_than_the_alphabet_has():
    sublist = list(range(60))
    shape = [2 if i in (0, 55) else 1 for i in sublist]
    a = draw(shape[:30], np.random.default_rng(0))
    b = draw(shape[30:], np.random.default_rng(1))
    got = einsum(a, sublist[:30], b, sublist[30:], [55, 0])
    np.testing.assert_array_equal(got, np.outer(b, a))


def test_eager_skips_gradients_that_nobody_asked_for(monkeypatch):
    ran = []
    original = Rule.transpose

    def counted(self, k):
        ran.append(k)
        return original(self, k)

    monkeypatch.setattr(Rule, "transpose", counted)
    a, b = tf.ones([2, 3]), tf.ones([3, 4])
    for watched in ([a], [b], [a, b]):
        ran.clear()
        with tf.GradientTape() as tape:
            tape.watch(watched)
            result = einsum("ij,jk->ik", a, b)
        tape.gradient(result, watched)
        assert ran == [0 if x is a else 1 for x in watched]


GRAPH_OF_GRADIENT = """
import hashlib, tensorflow as tf
from tf_einsum_grad import einsum
def gradients(equation, *shapes):
    @tf.function(input_signature=[tf.TensorSpec(shape) for shape in shapes])
    def function(*operands):
        with tf.GradientTape() as tape:
            tape.watch(operands)
            result = einsum(equation, *operands)
        return tape.gradient(result, operands)
    graph = function.get_concrete_function().graph.as_graph_def()
    return graph.SerializeToString(deterministic=True)
text = b"".join((
    gradients("abcdef->fa", (1, 2, 3, 4, 5, 6)),
    gradients("abcdef,fbgx->gdae", (None,) * 6, (None,) * 4),
    gradients("abc,bcd,cde,ae->bd", (2, 3, 4), (3, 4, 5), (4, 5, 6), (2, 6)),
    gradients("...ab,b...->a...", None, (3, None)),
))
print(hashlib.sha256(text).hexdigest())
"""


def test_graphs_are_the_same_in_every_process():
    hashes = set()
    for seed in ("0", "1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", GRAPH_OF_GRADIENT],
            env={
                "PYTHONHASHSEED": seed,
                "PYTHONPATH": ":".join(sys.path),
                "TF_CPP_MIN_LOG_LEVEL": "3",
            },
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
        hashes.add(done.stdout)
    assert len(hashes) == 1


INTEGERS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
INTEGER_EQUATIONS = [
    ("ij,jk->ik", (3, 4), (4, 5)),
    ("ij->i", (3, 4)),
    ("ii->i", (3, 3)),
    ("i->ii", (3,)),
    ("ij,ij->ij", (3, 4), (3, 1)),
    ("i,ij,j->", (3,), (3, 4), (4,)),
    ("ij->ji", (3, 4)),
]


@pytest.mark.parametrize("compiled", [None, False, True])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_are_exact_and_wrap_as_in_numpy(dtype, compiled):
    limits = np.iinfo(dtype)
    rng = np.random.default_rng(0)
    calls = [
        [rng.integers(limits.min, limits.max, shape, dtype, endpoint=True) for shape in shapes]
        for _, *shapes in INTEGER_EQUATIONS
    ]
    equations = [equation for equation, *_ in INTEGER_EQUATIONS]
    function = in_mode(
        compiled, lambda rows: [einsum(e, *row) for e, row in zip(equations, rows, strict=True)]
    )
    for equation, operands, got in zip(equations, calls, function(calls), strict=True):
        wanted = Reference(equation, [x.shape for x in operands]).value(operands)
        assert got.dtype.name == wanted.dtype == dtype
        np.testing.assert_array_equal(got, wanted, err_msg=equation)


def test_integers_never_go_through_float():
    assert einsum("i,i->", [2**24 + 1], [1]).numpy() == 2**24 + 1
    large = tf.constant([2**62 + 1, -1], tf.int64)
    assert einsum("i,i->", large, tf.ones_like(large)).numpy() == 2**62


def test_bool_is_or_of_ands():
    a = np.random.default_rng(0).random((5, 6)) < 0.3
    b = np.random.default_rng(1).random((6, 7)) < 0.3
    for equation, operands in (
        ("ij,jk->ik", (a, b)),
        ("ij->j", (a,)),
        ("ij->", (a,)),
        ("ij,jk->", (a, b)),
    ):
        got = einsum(equation, *operands)
        assert got.dtype == tf.bool
        np.testing.assert_array_equal(got, np.einsum(equation, *operands))


def test_elementwise_products_are_no_matmuls():
    graph = gradient_graph(lambda a, b: einsum("bij,bij->bij", a, b), (4, 5, 6), (4, 5, 6))
    kinds = {op.type for op in graph.get_operations()}
    assert "Mul" in kinds and not kinds & {"Einsum", "BatchMatMulV2", "MatMul"}


def in_order_of_appearance(equation):
    letters = dict.fromkeys(x for x in equation if x.isalpha())
    return equation.translate(str.maketrans("".join(letters), "abcdefgh"[: len(letters)]))


def test_the_question_permutes_nothing():
    # Native has the cotangent first in both gradients. Its kernel permutes what is not (batch,
    # free, contracting) in the order in which labels appear, and so would (100, 28, 28, 512).
    shape = (4, 28, 28, 64)
    graph = gradient_graph(lambda a, b: einsum("ijkm,ijkn->imn", a, b), shape, shape)
    operations = graph.get_operations()
    assert not [op.name for op in operations if op.type == "Transpose"]
    found = [op.get_attr("equation").decode() for op in operations if op.type == "Einsum"]
    wanted = ["ijkm,ijkn->imn", "ijkn,imn->ijkm", "ijkm,imn->ijkn"]
    assert sorted(map(in_order_of_appearance, found)) == sorted(map(in_order_of_appearance, wanted))
