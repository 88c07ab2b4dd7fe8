"""LoRA: Keras' numbers, of a kernel and its factors that run apart where that costs less."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_einsum_grad as teg
from tf_einsum_grad.keras import EinsumDense, lora, private

FORMS = [  # equation, output_shape, bias_axes, input shape
    ("ab,bc->ac", 5, "c", (4, 3)),
    ("abc,cde->abde", (None, 2, 5), "de", (4, 6, 3)),
    ("...x,xy->...y", 5, "y", (2, 4, 6, 3)),
    ("abc,dc->abd", (None, 5), "d", (4, 6, 3)),  # the kernel's last label is contracted
    ("abc,bcd->abd", (6, 5), None, (4, 6, 3)),
    ("abc,dcb->abd", (6, 5), None, (4, 6, 3)),  # it is a batch label
    ("ab...,bc->ac...", 5, "c", (4, 3, 6)),
]


def with_factors(layer, rank=2, **options):
    layer.enable_lora(rank, **options)
    rng = np.random.default_rng(0)
    for factor in (layer.lora_kernel_a, layer.lora_kernel_b):
        factor.assign(rng.normal(size=factor.shape))
    return layer


def built(cls, form, **options):
    keras.utils.set_random_seed(1)
    equation, output_shape, bias_axes, shape = form
    layer = cls(equation, output_shape, bias_axes=bias_axes, activation="tanh", **options)
    layer.build(shape)
    return layer, tf.constant(np.random.default_rng(1).normal(size=shape), "float32")


def step(layer, x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
        loss = tf.reduce_sum(tf.cast(y, tf.float32) ** 2)
    return y, *tape.gradient(loss, [x, *layer.trainable_variables])


@pytest.fixture
def ran(monkeypatch):
    """Has every layer run apart, and counts them."""
    seen = []
    monkeypatch.setattr(lora, "apart_costs_less", lambda *args: seen.append(args) or True)
    return seen


def assert_same(ours, theirs, tolerance=1e-5):
    assert len(ours) == len(theirs) > 2
    for a, b in zip(ours, theirs, strict=True):
        scale = float(tf.reduce_max(tf.abs(tf.cast(b, tf.float32)))) + 1e-6
        np.testing.assert_allclose(
            tf.cast(a, tf.float32), tf.cast(b, tf.float32), rtol=0, atol=tolerance * scale
        )


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form[0])
@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
def test_every_equation_gives_keras_numbers(form, mode, ran):
    theirs, x = built(keras.layers.EinsumDense, form)
    ours, _ = built(EinsumDense, form)
    with_factors(theirs, lora_alpha=6), with_factors(ours, lora_alpha=6)
    expected = step(theirs, x)
    assert not ran

    def run(layer):
        if mode == "eager":
            return step(layer, x)
        return tf.function(lambda x: step(layer, x), jit_compile=mode == "xla")(x)

    assert_same(run(ours), expected)
    with teg.installed():
        assert_same(run(theirs), expected)
    assert len(ran) == 2
    assert [v.path.split("/")[-1] for v in ours.trainable_variables] == [
        v.path.split("/")[-1] for v in theirs.trainable_variables
    ]


@pytest.mark.parametrize("shape", [(4, 3), (2, 4, 3)])
def test_dense(shape, ran):
    keras.utils.set_random_seed(1)
    layer = keras.layers.Dense(5, activation="relu")
    layer.build(shape)
    with_factors(layer, lora_alpha=6)
    x = tf.random.normal(shape)
    expected = step(layer, x)
    with teg.installed():
        assert_same(step(layer, x), expected)
    assert len(ran) == 1
    assert_same(step(layer, x), expected)
    assert len(ran) == 1


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "bfloat16", "float64"])
def test_dtype_policies(policy, ran):
    theirs, x = built(keras.layers.EinsumDense, FORMS[1], dtype=policy)
    with_factors(theirs)
    expected = step(theirs, x)
    with teg.installed():
        found = step(theirs, x)
    assert ran and [a.dtype for a in found] == [a.dtype for a in expected]
    assert_same(found, expected, 1e-5 if policy == "float64" else 0.05)


def kernel_gradients(layer, x, shape):
    """Ops with a result as large as the kernel that the factors' gradients are computed by."""

    @tf.function(autograph=False)
    def gradients(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x) ** 2)
        return tape.gradient(loss, layer.trainable_variables)

    graph = gradients.get_concrete_function(x).graph
    reached, waiting = set(), [y.op for y in graph.outputs]
    while waiting:
        op = waiting.pop()
        if op.name not in reached:
            reached.add(op.name)
            waiting += [y.op for y in op.inputs]
    size = np.prod(shape)
    return [
        op.type
        for op in graph.get_operations()
        if op.name in reached and any(y.shape.num_elements() == size for y in op.outputs)
    ]


@pytest.mark.parametrize("kind", ["ours", "installed", "dense"])
def test_no_gradient_of_the_kernels_size_is_in_the_graph(kind):
    form = ("abc,cde->abde", (None, 8, 31), "de", (4, 16, 250))
    cls = EinsumDense if kind == "ours" else keras.layers.EinsumDense
    layer, x = built(cls, form)
    if kind == "dense":
        layer = keras.layers.Dense(248, activation="tanh")
        layer.build(x.shape)
    kernel = layer.kernel.shape
    with_factors(layer)
    with contextlib.nullcontext() if kind == "ours" else teg.installed():
        types = kernel_gradients(layer, x, kernel)
    kinds = {"ReadVariableOp", "Reshape", "Identity", "IdentityN", "Cast"}
    assert "ReadVariableOp" in types and set(types) <= kinds  # the kernel, as it is read
    if kind != "ours":
        assert not set(kernel_gradients(layer, x, kernel)) <= kinds


def test_what_is_saved_and_merged_is_as_before(tmp_path, ran):
    x = np.random.default_rng(0).normal(size=(2, 6, 3)).astype("float32")
    layer = EinsumDense("abc,cd->abd", (None, 4), name="d")
    model = keras.Sequential([keras.Input([6, 3]), layer])
    with_factors(layer, lora_alpha=4)
    expected = model(x)
    assert len(ran) >= 1
    model.save_weights(tmp_path / "merged.weights.h5")
    merged = keras.Sequential(
        [keras.Input([6, 3]), keras.layers.EinsumDense("abc,cd->abd", (None, 4), name="d")]
    )
    merged.load_weights(tmp_path / "merged.weights.h5")
    np.testing.assert_allclose(merged(x), expected, rtol=1e-5, atol=1e-5)
    model.save(tmp_path / "m.keras")
    np.testing.assert_allclose(
        keras.models.load_model(tmp_path / "m.keras")(x), expected, rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(layer.kernel, merged.layers[0].kernel, rtol=1e-5, atol=1e-5)
    layer.quantize("int8")
    assert keras.ops.dtype(layer._kernel) == "int8"
    np.testing.assert_allclose(model(x), expected, atol=0.2)


def test_fit_gives_the_losses_of_keras_own():
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(32, 5, n)).astype("float32") for n in (64, 32))
    losses = []
    for use in (False, True):
        keras.utils.set_random_seed(7)
        layer = keras.layers.EinsumDense("abc,cd->abd", (None, 32))
        model = keras.Sequential([keras.Input([5, 64]), layer])
        with_factors(layer)
        with teg.installed() if use else contextlib.nullcontext():
            model.compile(keras.optimizers.SGD(1e-3), "mse")
            history = model.fit(x, y, epochs=2, batch_size=8, verbose=0, shuffle=False)
            losses.append(history.history["loss"] + list(model.predict(x, verbose=0)[0, 0]))
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4, atol=1e-4)


def test_a_kernel_of_someones_own_stays_what_runs(ran):
    class Doubled(keras.layers.EinsumDense):
        @property
        def kernel(self):
            return 2 * super().kernel

    layer, x = built(Doubled, FORMS[0])
    with_factors(layer)
    expected = layer(x)
    with teg.installed():
        np.testing.assert_allclose(layer(x), expected, rtol=1e-5, atol=1e-6)
    assert not ran


def test_a_keras_without_the_attributes_runs_the_merged_kernel():
    layer, _ = built(EinsumDense, FORMS[0])
    with_factors(layer, lora_alpha=6)
    assert private.lora_factors(layer)[3] == 3
    vars(layer)["lora_alpha"] = None  # as before Keras 3.10
    assert private.lora_factors(layer)[3] == 1

    del vars(layer)["_kernel"]
    assert private.lora_factors(layer) is None


def test_wrong_sizes_are_named(ran):
    layer, _ = built(EinsumDense, FORMS[2])
    with_factors(layer)
    with pytest.raises(teg.SizeError, match="label 'x', got 7 in operand 0"):
        layer(np.ones([2, 4, 6, 7], "float32"))
