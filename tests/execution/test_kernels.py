"""Every kernel for diagonals against NumPy, also where the cost model would take another."""

import numpy as np
import pytest
import tensorflow as tf

from tests.modes import EAGER, STATIC, UNKNOWN_DIMS, XLA, XLA_UNKNOWN_DIMS
from tf_einsum_grad.algebra.equation import Equation
from tf_einsum_grad.execution.kernels import _Rows, assemble
from tf_einsum_grad.execution.shapes import Sizes, int_constant
from tf_einsum_grad.lowering.contraction import Contraction, Lowering
from tf_einsum_grad.lowering.instructions import Diagonal, EmbedDiagonal, Permute
from tf_einsum_grad.ops import einsum

MODES = (EAGER, STATIC, UNKNOWN_DIMS, XLA, XLA_UNKNOWN_DIMS)
# The larger tensor's labels.
LAST_TWO = ("ii", "cii", "bcii")
ANYWHERE = (*LAST_TWO, "iic", "ici", "bicid", "biicd")
SIZES = {"b": 2, "i": 3, "c": 4, "d": 1}


def run_instruction(instruction, mode, x, labels):
    equation = Equation((labels,), "")  # which kernels do not read
    lowering = Lowering(equation, "float32", "graph", None, ((instruction,),))

    def body(x):
        sizes = dict(zip(labels, x.shape, strict=True))
        contraction = Contraction(equation, tuple(sizes.items()), "float32")
        return assemble(lowering, Sizes(contraction, [x]))(x)

    return mode.run(body, x)


def random(shape, dtype):
    rng = np.random.default_rng(0)
    if dtype == "complex64":
        return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(dtype)
    return rng.integers(0, 2 if dtype == "bool" else 100, shape).astype(dtype)


def axes(large):
    """The axes of `i`, and the smaller tensor's labels."""
    first, second = (axis for axis, label in enumerate(large) if label == "i")
    return first, second, large[:second] + large[second + 1 :]


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "complex64", "bool", "int8", "uint64"])
@pytest.mark.parametrize(
    ("kernel", "large"),
    [(kernel, large) for kernel in ("stride", "diag_part") for large in LAST_TWO]
    + [("gather", large) for large in ANYWHERE],
)
def test_diagonal(kernel, large, dtype, mode):
    first, second, small = axes(large)
    x = random([SIZES[label] for label in large], dtype)
    got = run_instruction(Diagonal(first, second, tuple(small), kernel), mode, x, large)
    np.testing.assert_array_equal(got, np.einsum(f"{large}->{small}", x), strict=True)


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "complex64", "bool", "int8", "uint64"])
@pytest.mark.parametrize(
    ("kernel", "large"),
    [(kernel, large) for kernel in ("diag", "set_diag") for large in LAST_TWO]
    + [(kernel, large) for kernel in ("segment_sum", "select") for large in ANYWHERE],
)
def test_embed_diagonal(kernel, large, dtype, mode):
    if (kernel, dtype) == ("segment_sum", "bool"):
        pytest.skip("bools are not summed: the lowering takes a select")
    first, second, small = axes(large)
    x = random([SIZES[label] for label in small], dtype)
    want = np.zeros([SIZES[label] for label in large], dtype)
    np.einsum(f"{large}->{small}", want)[...] = x  # a view
    got = run_instruction(EmbedDiagonal(first, second, tuple(small), kernel), mode, x, small)
    np.testing.assert_array_equal(got, want, strict=True)


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("kernel", ["diag", "set_diag", "segment_sum", "select"])
def test_what_is_off_the_diagonal_is_zero_whatever_is_on_it(kernel, mode):
    x = np.array([np.nan, np.inf, -np.inf, 1.0], "float32")
    got = run_instruction(EmbedDiagonal(0, 1, ("i",), kernel), mode, x, "i")
    np.testing.assert_array_equal(got, np.diag(x))


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("kernel", ["segment_sum", "select"])
@pytest.mark.parametrize("shape", [(0, 2, 3), (2, 0, 3), (2, 3, 0)])
def test_nothing_to_embed(kernel, shape, mode):
    got = run_instruction(EmbedDiagonal(0, 2, tuple("ijk"), kernel), mode, np.ones(shape), "ijk")
    np.testing.assert_array_equal(got, np.zeros((*shape[:2], shape[0], shape[2])))


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("shape", [(0, 2, 0, 3), (2, 0, 2, 3), (2, 3, 2, 0)])
def test_nothing_to_gather(shape, mode):
    instruction = Diagonal(0, 2, tuple("ijk"), "gather")
    got = run_instruction(instruction, mode, np.ones(shape), "ijlk")
    assert got.shape == (*shape[:2], shape[3])


def test_rows_beyond_32_bits_are_counted_in_64():
    n = 50_000
    instruction = EmbedDiagonal(0, 1, ("i", "c"), "segment_sum")
    contraction = Contraction(Equation(("ic",), "iic"), (("i", n), ("c", 2)), "float32")
    assert _Rows.of(instruction, Sizes(contraction)).find()[-1].numpy() == n * n - 1


def test_shapes_beyond_32_bits_are_told_in_64():
    assert [int_constant([n, 2]).dtype for n in (2**31 - 1, 2**31)] == [tf.int32, tf.int64]
    assert int_constant([2**31, 2]).numpy().tolist() == [2**31, 2]


@pytest.mark.parametrize("mode", MODES[:2], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "complex64", "bool", "int8", "bfloat16"])
@pytest.mark.parametrize("axes", [(2, 0, 1), (1, 0, 2), (0, 1, 2), (2, 1, 0)])
def test_a_permute_by_gather(mode, dtype, axes):
    x = tf.cast(random((2, 3, 4), "float32"), dtype)
    got = run_instruction(Permute(axes, "gather"), mode, x, "bic")
    assert got.dtype == x.dtype
    np.testing.assert_array_equal(got, tf.transpose(x, axes))


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_many_dimensions_are_permuted_and_differentiated(mode):
    """By a gather, or by a permute of those that do not stay side by side."""
    rng = np.random.default_rng(0)
    for order in ("jihgfedcba", "ihgfedcbaj", "bcdefghija", "cadbjeigfh"):
        x, weights = (rng.normal(size=(2,) * 10).astype("float32") for _ in range(2))

        def body(inputs, order=order):
            x, weights = inputs
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = einsum(f"abcdefghij->{order}", x)
                loss = tf.reduce_sum(y * weights)
            return y, tape.gradient(loss, x)

        axes = ["abcdefghij".index(label) for label in order]
        y, gradient = mode.run(body, [x, weights])
        np.testing.assert_array_equal(y, x.transpose(axes))
        np.testing.assert_array_equal(gradient, weights.transpose(np.argsort(axes)))
