"""The gradient of each example, and its norm, against one example at a time."""

import contextlib
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_einsum_grad as teg
from tf_einsum_grad.execution import private
from tf_einsum_grad.per_example import pulling

N = 4
LAYERS = keras.layers


def draw(*shape, seed=0, dtype="float32"):
    return tf.constant(np.random.default_rng(seed).normal(size=shape), dtype)


def variables_of(*shapes):
    return [tf.Variable(draw(*shape, seed=7 + k)) for k, shape in enumerate(shapes)]


def one_by_one(model, inputs, loss, variables, targets=()):
    """Of batches of one example."""

    def one(k):
        with tf.GradientTape() as tape:
            tape.watch(variables)
            losses = loss(*[x[k : k + 1] for x in targets], model(inputs[k : k + 1]))
        zero = tf.UnconnectedGradients.ZERO
        return tape.gradient(losses, variables, unconnected_gradients=zero)

    rows = [[tf.convert_to_tensor(g) for g in one(k)] for k in range(len(inputs))]
    return [tf.stack(column).numpy() for column in zip(*rows, strict=True)]


def check(model, inputs, loss=None, variables=None, targets=None, tolerance=1e-5):
    loss = loss or (lambda y: tf.reduce_sum(y**2, axis=range(1, y.shape.rank)))
    if variables is None:
        variables = [v.value for v in model.trainable_variables]
    given = () if targets is None else (targets,)
    expected = one_by_one(model, inputs, loss, variables, given)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        options = {"targets": targets, "variables": variables}
        found = teg.per_example_gradients(model, inputs, loss, **options)
        norms = teg.per_example_gradients(model, inputs, loss, "norm", **options)
    assert len(found) == len(expected)
    for g, g_, v in zip(found, expected, variables, strict=True):
        assert g.dtype == v.dtype and g.shape == (len(inputs), *v.shape)
        # At least 1: the gradient of a softmax's shift is 0 but for rounding.
        np.testing.assert_allclose(g, g_, rtol=0, atol=tolerance * max(1, np.abs(g_).max()))
    squares = sum((np.abs(g.reshape(len(g), -1)) ** 2).sum(1) for g in expected)
    np.testing.assert_allclose(norms, np.sqrt(squares), rtol=tolerance)


W, V = (5, 6), (6, 7)
FUNCTIONS = {  # of x [N, 3, 5] and variables of these shapes
    "einsum": (lambda x, w: teg.einsum("btx,xy->bty", x, w), W),
    "native einsum": (lambda x, w: tf.einsum("btx,xy->bty", x, w), W),
    "ellipsis": (lambda x, w: tf.einsum("...x,xy->...y", x, w), W),
    "operands swapped": (lambda x, w: teg.einsum("xy,btx->bty", w, x), W),
    "batch last": (
        lambda x, w: tf.transpose(teg.einsum("txb,xy->ytb", tf.transpose(x, [1, 2, 0]), w)),
        W,
    ),
    "label in all": (lambda x, w: teg.einsum("btx,tx->btx", x, w), (3, 5)),
    "label of the variable": (lambda x, w: teg.einsum("btx,xz->bt", x, w), W),
    "repeated label": (lambda x, w: teg.einsum("btx,xx->bt", x, w), (5, 5)),
    "three operands": (lambda x, w, v: teg.einsum("btx,xy,yz->btz", x, w, v), W, V),
    "quadratic": (lambda x, w: teg.einsum("btx,xy,bty->bt", x, w, x), (5, 5)),
    "matmul": (lambda x, w: x @ w, W),
    "matmul of matrices": (lambda x, w: x[:, 0] @ w, W),
    "matmul of the transpose": (lambda x, w: tf.matmul(x, w, transpose_b=True), (6, 5)),
    "variable first": (lambda x, w: tf.matmul(w, x, transpose_b=True), (6, 5)),
    "tensordot": (lambda x, w: tf.tensordot(x, w, 1), W),
    "merged by hand": (lambda x, w: tf.reshape(tf.reshape(x, [-1, 5]) @ w, [-1, 3, 6]), W),
    "transposed variable": (lambda x, w: x @ tf.transpose(w), (6, 5)),
    "product of variables": (lambda x, w, v: x @ (w @ v), W, V),
    "scaled and shifted": (lambda x, w, v: x @ (2.0 * w - v), W, W),
    "sum": (lambda x, w: tf.tanh(x + w), (5,)),
    "sum of ones": (lambda x, w: tf.tanh(x - w), (3, 1)),
    "difference": (lambda x, w: tf.tanh(w - x), (1, 3, 5)),
    "product": (lambda x, w: tf.reduce_sum(x, -1, keepdims=True) * w, (5,)),
    "bias": (lambda x, w: tf.tanh(tf.nn.bias_add(x, w)), (5,)),
    "used twice": (lambda x, w: tf.tanh(x @ w) @ w, (5, 5)),
    "square": (lambda x, w: x @ w @ tf.transpose(w), W),
    "unused": (lambda x, w, v: x @ w, W, V),
    "attention": (
        lambda x, w, v: tf.nn.softmax((x @ w) @ tf.linalg.matrix_transpose(x)) @ (x @ v),
        (5, 5),
        W,
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    function, *shapes = FUNCTIONS[name]
    variables = variables_of(*shapes)
    check(lambda x: function(x, *variables), draw(N, 3, 5), variables=variables)


def mha():
    x = keras.Input([3, 8])
    y = LAYERS.LayerNormalization()(x + LAYERS.MultiHeadAttention(2, 4)(x, x))
    z = LAYERS.Dense(8)(LAYERS.Dense(16, activation="gelu")(y))
    return keras.Model(x, LAYERS.LayerNormalization()(y + z))


MODELS = {
    "dense": lambda: LAYERS.Dense(6, activation="tanh"),
    "einsum dense": lambda: LAYERS.EinsumDense("abc,cde->abde", (None, 2, 6), bias_axes="de"),
    "our einsum dense": lambda: teg.keras.EinsumDense("...x,xy->...y", 6, bias_axes="y"),
    "einsum dense with lora": lambda: LAYERS.EinsumDense("abc,cd->abd", (None, 6), lora_rank=2),
    "transformer": mha,
    "norms": lambda: keras.Sequential([LAYERS.RMSNormalization(), LAYERS.LayerNormalization()]),
}


@pytest.mark.parametrize("use", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_models(name, use):
    keras.utils.set_random_seed(0)
    model, x = MODELS[name](), draw(N, 3, 8)
    model(x)
    for v in model.trainable_variables:
        v.assign(v + draw(*v.shape))
    with teg.installed() if use else contextlib.nullcontext():
        check(model, x)


def test_rows_that_are_looked_up():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [LAYERS.Embedding(11, 6), LAYERS.Dense(4), LAYERS.GlobalAveragePooling1D()]
    )
    tokens = tf.constant([[1, 2, 2], [3, 3, 3], [0, 10, 1], [1, 2, 3]])
    model(tokens)
    check(
        model,
        tokens,
        lambda y, logits: keras.losses.sparse_categorical_crossentropy(y, logits, True),
        targets=tf.constant([0, 3, 1, 2]),
    )
    table = tf.Variable(draw(11, 6))
    check(lambda x: tf.gather(2 * table, x), tokens, variables=[table])


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float64"])
def test_policies(policy):
    layer, x = LAYERS.Dense(6, dtype=policy), draw(N, 3, 8)
    layer(x)
    check(
        layer,
        x,
        lambda y: tf.reduce_sum(tf.cast(y, "float64") ** 2, [1, 2]),
        tolerance=1e-10 if policy == "float64" else 2e-2,
    )


def test_complex():
    w = tf.Variable(tf.complex(draw(5, 6), draw(5, 6, seed=1)))
    x = tf.complex(draw(N, 5), draw(N, 5, seed=2))
    check(
        lambda x: teg.einsum("bx,xy->by", x, w),
        x,
        lambda y: tf.reduce_sum(tf.abs(y) ** 2, 1),
        variables=[w],
    )


@pytest.mark.parametrize(("length", "apart"), [(2, True), (800, False)])
def test_norms_take_the_cheaper_way(length, apart, monkeypatch):
    """Few positions: products of them. Many: the gradient itself."""
    seen, squares = [], pulling.squares_of_use

    def noted(*args):
        seen.append(squares(*args))
        return seen[-1]

    monkeypatch.setattr("tf_einsum_grad.per_example.gradients.squares_of_use", noted)
    w = tf.Variable(draw(256, 256))
    check(
        lambda x: teg.einsum("btx,xy->bty", x, w),
        draw(2, length, 256),
        variables=[w],
        tolerance=1e-4,
    )
    assert [x is not None for x in seen] == [apart]


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("known", [True, False])
def test_in_a_graph(jit_compile, known):
    w, x = tf.Variable(draw(5, 6)), draw(N, 3, 5)

    @tf.function(
        autograph=False,
        jit_compile=jit_compile,
        input_signature=[tf.TensorSpec([N if known else None, 3, 5])],
    )
    def run(x):
        call = (lambda x: tf.tanh(x @ w), x, lambda y: tf.reduce_sum(y**2, [1, 2]))
        return teg.per_example_gradients(*call)[0], teg.per_example_gradients(*call, "norm")

    gradient, norm = run(x)
    expected = one_by_one(lambda x: tf.tanh(x @ w), x, lambda y: tf.reduce_sum(y**2, [1, 2]), [w])
    np.testing.assert_allclose(gradient, expected[0], rtol=1e-4, atol=1e-5)
    squares = (expected[0] ** 2).sum((1, 2))
    np.testing.assert_allclose(norm, np.sqrt(squares), rtol=1e-5)


def batch_norm():
    layer = LAYERS.BatchNormalization()
    layer.build((None, 3, 5))
    return lambda x: layer(x, training=True), [layer.gamma.value, layer.beta.value]


def convolution():
    layer = LAYERS.Conv1D(6, 2)
    layer.build((None, 3, 5))
    return layer, [layer.kernel.value, layer.bias.value]


def function_of(apply, *shapes):
    variables = variables_of(*shapes)
    return lambda: (lambda x: apply(x, *variables), variables)


MAPPED = {
    "convolution": (convolution, "enters Conv2D|enters ExpandDims"),
    "batch norm": (batch_norm, "mixes examples"),
    "examples mixed": (
        function_of(lambda x, w: (x - tf.reduce_mean(x, 0)) @ w, W),
        "Mean .* mixes",
    ),
    "batch behind": (
        function_of(
            lambda x, w: tf.transpose(
                tf.reshape(tf.reshape(tf.transpose(x, [1, 0, 2]), [-1, 5]) @ w, [3, -1, 6]),
                [1, 0, 2],
            ),
            W,
        ),
        "Reshape .* hides",
    ),
    "not linear": (function_of(lambda x, w: x @ tf.tanh(w), W), "enters Tanh"),
    "examples and variable twice": (
        function_of(lambda x, w: teg.einsum("btx,xy->bty", x, w) * tf.reduce_sum(w), W),
        "enters Sum",
    ),
}


@pytest.mark.parametrize("name", MAPPED)
def test_others_are_mapped_and_say_so(name):
    make, words = MAPPED[name]
    model, variables = make()
    x, loss = draw(N, 3, 5), lambda y: tf.reduce_sum(y**2, [1, 2])
    expected = one_by_one(model, x, loss, variables)
    with pytest.warns(UserWarning, match=f"maps over examples: .*({words})"):
        found = teg.per_example_gradients(model, x, loss, variables=variables)
    for g, g_ in zip(found, expected, strict=True):
        np.testing.assert_allclose(g, g_, rtol=1e-4, atol=1e-4)
    with pytest.warns(UserWarning, match="maps"):
        norms = teg.per_example_gradients(model, x, loss, "norm", variables=variables)
    squares = sum((g.reshape(N, -1) ** 2).sum(1) for g in expected)
    np.testing.assert_allclose(norms, np.sqrt(squares), rtol=1e-4)


def test_a_tensorflow_whose_ops_take_no_gradient_maps_our_einsum(monkeypatch):
    monkeypatch.setattr(private, "HAS_OP_GRADIENT", False)
    w, x, loss = tf.Variable(draw(5, 6)), draw(N, 5), lambda y: tf.reduce_sum(y**2, 1)
    model = lambda x: teg.einsum("bx,xy->by", x, w)  # noqa: E731
    with pytest.warns(UserWarning, match="maps over examples"):
        (found,) = teg.per_example_gradients(model, x, loss)
    np.testing.assert_allclose(found, one_by_one(model, x, loss, [w])[0], rtol=1e-5, atol=1e-5)


def test_the_variables_of_a_function_are_those_that_it_reads():
    w, v = tf.Variable(draw(5, 6)), tf.Variable(draw(6, 7), trainable=False)
    call = (lambda x: x @ w @ v, draw(N, 5), lambda y: y[:, 0])
    (gradient,) = teg.per_example_gradients(*call)
    assert gradient.shape == (N, 5, 6)
    module = tf.Module()
    module.w = w
    (same,) = teg.per_example_gradients(module_call(module, v), *call[1:])
    np.testing.assert_allclose(gradient, same)


def module_call(module, v):
    class Called(tf.Module):
        def __init__(self):
            super().__init__()
            self.inner = module

        def __call__(self, x):
            return x @ self.inner.w @ v

    return Called()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"reduce": "sum"}, teg.OperandError, "reduce None or 'norm', got 'sum'"),
        ({"loss": tf.reduce_sum}, teg.OperandError, r"losses of shape \[batch\].*got \(\)"),
        ({"loss": lambda y: y}, teg.OperandError, r"losses of shape \[batch\].*got \(None, 6\)"),
        ({"loss": lambda y: None}, teg.OperandError, "got NoneType"),
        ({"inputs": 1.0}, teg.SizeError, "a batch axis of each tensor, got a scalar"),
        ({"inputs": draw(N, 5), "targets": draw(3)}, teg.SizeError, "one number .*got 3 and 4"),
        ({"model_or_fn": lambda x: x}, teg.OperandError, "a variable that trains, got none"),
    ],
)
@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
def test_errors(change, error, message, mode):
    w = tf.Variable(draw(5, 6))
    call = {
        "model_or_fn": lambda x: x @ w,
        "inputs": draw(N, 5),
        "loss": lambda y: y[:, 0],
    } | change

    def run():
        return teg.per_example_gradients(**call)

    with pytest.raises(error, match=message):
        (run if mode == "eager" else tf.function(run, jit_compile=mode == "xla", autograph=False))()
