"""Half types over several steps, and `dtype=`: what is computed in, what comes back."""

import numpy as np
import pytest
import tensorflow as tf

from tf_einsum_grad import EinsumError, OperandError, einsum, explain

MODES = {
    "eager": lambda f: f,
    "graph": lambda f: tf.function(f, autograph=False),
    "xla": lambda f: tf.function(f, autograph=False, jit_compile=True),
}


@pytest.fixture(params=MODES)
def run(request):
    return MODES[request.param]


def with_gradients(equation, **options):
    def body(*operands):
        with tf.GradientTape() as tape:
            tape.watch(operands)
            y = einsum(equation, *operands, **options)
        return y, *tape.gradient(y, operands)

    return body


def test_what_is_between_steps_is_not_rounded(run):
    """The first product is 128,000, which float16 does not hold; the last is 8195."""
    operands = [tf.fill([2, 64], 100.0), tf.fill([64, 64], 20.0), tf.fill([64, 2], 1e-3)]
    y, da, db, _ = run(with_gradients("ab,bc,cd->ad"))(*(tf.cast(x, "float16") for x in operands))
    assert y.dtype == da.dtype == tf.float16
    exact = 64 * 64 * 100 * 20 * np.float64(np.float16(1e-3))
    np.testing.assert_allclose(y.numpy(), np.full([2, 2], exact), 2**-10)
    np.testing.assert_allclose(da.numpy(), np.full([2, 64], exact / 64 / 100 * 2), 2**-10)
    np.testing.assert_allclose(db.numpy(), np.full([64, 64], exact / 64 / 64 / 20 * 4), 2**-10)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("equation", ["btd,bsd,->bts", "ab,bc,cd->ad", "abc,bd,cd->a", "aab,bc->c"])
def test_only_the_result_is_rounded(run, equation, dtype):
    rng = np.random.default_rng(0)
    terms = equation.split("->")[0].split(",")
    wide = [tf.constant(rng.normal(size=[16] * len(term)), dtype) for term in terms]
    exact = np.einsum(equation, *(x.numpy().astype("float64") for x in wide))
    got = run(lambda *xs: einsum(equation, *xs))(*wide).numpy().astype("float64")
    epsilon = 2**-11 if dtype == "float16" else 2**-8
    np.testing.assert_allclose(got, exact, 1.01 * epsilon, 1e-5 * np.abs(exact).max())


def test_a_gradient_is_in_float32_to_the_end(run):
    """The gradient of the second operand passes through 65,536 and more."""
    a, b, c = tf.fill([1, 256], 32.0), tf.fill([256, 64], 2.0**-6), tf.fill([64, 1], 2.0**-8)
    gradient = run(with_gradients("ab,bc,cd,->ad"))(
        *(tf.cast(x, "float16") for x in (a, b, c)), tf.constant(2.0**-4, "float16")
    )[3]
    np.testing.assert_array_equal(gradient.numpy(), np.full([64, 1], 256 * 32 * 2.0**-10))


def test_explain_says_what_is_cast():
    shapes = (2, 64), (64, 64), (64, 2)
    forward = explain("ab,bc,cd->ad", *shapes, dtype="float16", machine="cpu").forward
    assert forward[0].call.endswith("(cast(A, float32), cast(B, float32))")
    assert forward[1].call.startswith("cast(") and forward[1].call.endswith(", float16)")


@pytest.mark.parametrize(
    ("dtypes", "wanted"),
    [
        (("float16", "float16"), "float32"),
        (("bfloat16", "float32"), "float32"),
        (("float16", "bfloat16"), "float32"),
        (("float32", "float64"), "float64"),
        (("float32", "complex64"), "complex64"),
    ],
)
def test_dtype_is_what_comes_back(run, dtypes, wanted):
    rng = np.random.default_rng(0)
    x, w = (tf.cast(rng.normal(size=[8, 8]), dtype) for dtype in dtypes)
    y, dx, dw = run(with_gradients("ij,jk->ik", dtype=wanted))(x, w)
    assert y.dtype == wanted and [dx.dtype, dw.dtype] == [x.dtype, w.dtype]
    exact = np.einsum("ij,jk->ik", *(a.numpy().astype("complex128") for a in (x, w)))
    np.testing.assert_allclose(y.numpy(), exact, 1e-5, 1e-5)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "bool"])
def test_integers_count_further_than_they_hold(run, dtype):
    x = tf.cast(tf.ones([2, 70_000]), dtype)
    y = run(lambda x: einsum("ij,kj->ik", x, x, dtype=tf.int32))(x)
    assert y.dtype == tf.int32 and y.numpy().tolist() == [[70_000] * 2] * 2


@pytest.mark.parametrize(
    ("dtypes", "wanted", "message"),
    [
        (("float32", "float32"), "float16", "got dtype=float16 and float32 for operand 0"),
        (("float16", "float16"), "bfloat16", "got dtype=bfloat16 and float16 for operand 0"),
        (("int8", "float32"), "int32", "got dtype=int32 and float32 for operand 1"),
        (("int8", "int8"), "string", "requires a numeric dtype, got dtype=string"),
        (("int8", "int8"), "nothing", "requires a dtype, got 'nothing'"),
        (("float32", "float64"), None, "float64 for operand 1; dtype=... computes in one that"),
    ],
)
def test_what_is_no_wider_dtype_is_refused(run, dtypes, wanted, message):
    x, w = (tf.cast(tf.ones([2, 2]), dtype) for dtype in dtypes)
    with pytest.raises((OperandError, EinsumError), match=message):
        run(lambda x, w: einsum("ij,jk->ik", x, w, dtype=wanted))(x, w)


def test_symbolic_tensors_take_it():
    keras = pytest.importorskip("keras")
    x = keras.Input([3], dtype="float16")
    y = einsum("bi,ij->bj", x, np.ones([3, 2], "float32"), dtype="float32")
    model = keras.Model(x, y)
    copy = keras.Model.from_config(model.get_config())
    for each in (model, copy):
        assert each.output.dtype == "float32"
        assert each(np.ones([4, 3], "float16")).dtype == tf.float32


@pytest.mark.parametrize("dtype", [np.longdouble, "M8[s]", [("field", "f4")]])
def test_arrays_that_tensorflow_has_no_dtype_for(dtype):
    with pytest.raises(OperandError, match=r"requires a numeric dtype, got .* for operand 0"):
        einsum("i->i", np.zeros(3, dtype))


def test_arrays_take_the_first_ones_dtype():
    x, w = np.ones([2, 3], "float32"), np.ones([3])
    assert einsum("ij,j->i", x, w).dtype == tf.einsum("ij,j->i", x, w).dtype == tf.float32
    assert einsum("j,ij->i", w, x).dtype == tf.float64


@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
@pytest.mark.parametrize("wanted", ["int32", "int64"])
@pytest.mark.parametrize("n", [1024, 1025])
def test_int8_is_exact_at_the_limit_of_float32(n, wanted, mode):
    extreme = tf.fill([2, n], tf.constant(-128, tf.int8))
    mixed = tf.cast(np.random.default_rng(0).integers(-128, 128, (n, 3)), tf.int8)
    for x, y in ((extreme, tf.transpose(extreme)), (extreme, mixed)):
        run = lambda x, y: einsum("ij,jk->ik", x, y, dtype=wanted)  # noqa: E731
        if mode != "eager":
            run = tf.function(run, jit_compile=mode == "xla", autograph=False)
        found = run(x, y)
        assert found.dtype == wanted
        np.testing.assert_array_equal(found, x.numpy().astype(int) @ y.numpy().astype(int))
