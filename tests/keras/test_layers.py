"""Our two Keras layers: the same as Keras' own where Keras has one, and right where it has none."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_einsum_grad as teg
from tf_einsum_grad.keras import Einsum, EinsumDense, backend

FORMS = [  # equation, output_shape, bias_axes, input shape
    ("ab,bc->ac", 5, "c", (4, 3)),
    ("abc,cd->abd", (None, 5), "d", (4, 6, 3)),
    ("...x,xy->...y", 5, "y", (2, 4, 6, 3)),
    ("abc,cde->abde", (None, 2, 5), "de", (4, 6, 3)),
    ("abc,bcd->abd", (6, 5), None, (4, 6, 3)),
    ("...ij,jki->...k", 5, "k", (4, 6, 3)),
]


def _pair(equation, output_shape, bias_axes, shape, **kwargs):
    keras.utils.set_random_seed(1)
    ours = EinsumDense(equation, output_shape, bias_axes=bias_axes, **kwargs)
    theirs = keras.layers.EinsumDense(equation, output_shape, bias_axes=bias_axes, **kwargs)
    ours.build(shape), theirs.build(shape)
    theirs.set_weights(ours.get_weights())
    x = tf.constant(np.random.default_rng(0).normal(size=shape).astype("float32"))
    return ours, theirs, x


def _step(layer, x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
        loss = tf.reduce_sum(tf.cast(y, tf.float32) ** 2)
    return y, tape.gradient(loss, [x, *layer.trainable_variables])


@pytest.mark.parametrize(("equation", "output_shape", "bias_axes", "shape"), FORMS)
def test_einsum_dense_computes_what_keras_does(equation, output_shape, bias_axes, shape):
    ours, theirs, x = _pair(equation, output_shape, bias_axes, shape, activation="tanh")
    (y, grads), (y_, grads_) = _step(ours, x), _step(theirs, x)
    np.testing.assert_allclose(y, y_, rtol=1e-5, atol=1e-6)
    assert len(grads) == len(grads_)
    for g, g_ in zip(grads, grads_, strict=True):
        np.testing.assert_allclose(g, g_, rtol=1e-4, atol=1e-5)
    assert ours(keras.Input(shape[1:])).shape == (None, *y_.shape[1:])


def test_configs_and_weights_interchange():
    ours, theirs, x = _pair(*FORMS[2], activation="relu", kernel_regularizer="l2")
    assert ours.get_config() == theirs.get_config() | {"name": ours.name}
    for layer, cls in ((ours, keras.layers.EinsumDense), (theirs, EinsumDense)):
        other = cls.from_config(layer.get_config())
        other.build(x.shape)
        other.set_weights(layer.get_weights())
        np.testing.assert_allclose(other(x), layer(x), rtol=1e-5, atol=1e-6)


def test_weight_files_interchange(tmp_path):
    def model(cls):
        return keras.Sequential(
            [keras.Input([6, 3]), cls("...x,xy->...y", 5, bias_axes="y", name="d")]
        )

    ours, theirs = model(EinsumDense), model(keras.layers.EinsumDense)
    x = np.ones([2, 6, 3], "float32")
    for source, target in ((ours, theirs), (theirs, ours)):
        source.layers[0].set_weights([np.random.rand(*w.shape) for w in source.get_weights()])
        path = tmp_path / f"{id(source)}.weights.h5"
        source.save_weights(path)
        target.load_weights(path)
        np.testing.assert_allclose(source(x), target(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", ["int8", "int4", "float8"])
@pytest.mark.parametrize("form", [FORMS[0], FORMS[1], FORMS[3]], ids=lambda form: form[0])
def test_quantization_still_works(mode, form):
    ours, theirs, x = _pair(*form)
    ours.quantize(mode), theirs.quantize(mode)

    def run(layer):
        @tf.function(autograph=False)
        def both(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = layer(x)
            return y, tape.gradient(y, x)

        return both(x)

    expected = run(theirs)
    with teg.installed():
        found = run(theirs)
    for a, b, c in zip(found, expected, run(ours), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(c, b, rtol=1e-5, atol=1e-5)


def test_lora_still_works():
    ours, theirs, x = _pair(*FORMS[1])
    ours.enable_lora(2), theirs.enable_lora(2)
    assert [v.path.split("/")[-1] for v in ours.trainable_variables] == [
        v.path.split("/")[-1] for v in theirs.trainable_variables
    ]
    theirs.set_weights(ours.get_weights())
    (y, grads), (y_, grads_) = _step(ours, x), _step(theirs, x)
    np.testing.assert_allclose(y, y_, rtol=1e-5, atol=1e-6)
    for g, g_ in zip(grads, grads_, strict=True):
        np.testing.assert_allclose(g, g_, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_dtype_policies(policy):
    ours, theirs, x = _pair(*FORMS[3], dtype=policy)
    y, grads = _step(ours, x)
    assert y.dtype == theirs(x).dtype == ours.compute_dtype
    assert all(v.dtype == ours.variable_dtype for v in ours.trainable_variables)
    assert all(g.dtype == ours.variable_dtype for g in grads[1:])
    np.testing.assert_allclose(
        tf.cast(y, tf.float32), tf.cast(theirs(x), tf.float32), rtol=2e-2, atol=2e-2
    )
    scores = Einsum("bij,bkj->bik", dtype=policy)([x[..., :2, :], x])
    assert scores.dtype == ours.compute_dtype
    symbolic = Einsum("bij,bkj->bik", dtype=policy)([keras.Input([2, 3]), keras.Input([6, 3])])
    assert symbolic.dtype == ours.compute_dtype and symbolic.shape == (None, 2, 6)


def test_integers_go_into_einsum_dense_as_they_do_in_keras():
    ours, theirs, _ = _pair(*FORMS[0])
    x = np.arange(12).reshape(4, 3)
    np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-5, atol=1e-6)


def _attention_model():
    tokens = keras.Input([7, 6])
    q = EinsumDense("...x,xhd->...hd", (2, 4), bias_axes="hd")(tokens)
    k = EinsumDense("...x,xhd->...hd", (2, 4))(tokens)
    scores = keras.layers.Softmax()(
        Einsum("bqhd,bkhd->bhqk", optimize="greedy", size_hints={"b": 8})([q, k])
    )
    out = teg.einsum("bhqk,bkx->bqhx", scores, tokens)
    return keras.Model(tokens, teg.einsum("bqhx->bx", out))


def test_a_model_is_fitted_saved_and_loaded(tmp_path):
    keras.utils.set_random_seed(0)
    model = _attention_model()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 7, 6)).astype("float32")
    y = x.sum(1) * 3
    model.compile("adam", "mse")
    history = model.fit(x, y, epochs=3, batch_size=16, verbose=0).history["loss"]
    assert history[-1] < history[0]
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(loaded(x), model(x), rtol=1e-5, atol=1e-6)
    assert [type(layer) for layer in loaded.layers] == [type(layer) for layer in model.layers]
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    np.testing.assert_allclose(clone(x), model(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_fit_gives_the_losses_of_keras_own(jit_compile):
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(32, 5, n)).astype("float32") for n in (6, 4))
    losses = []
    for cls in (EinsumDense, keras.layers.EinsumDense):
        keras.utils.set_random_seed(7)
        model = keras.Sequential(
            [cls("...x,xy->...y", 4, bias_axes="y"), cls("abc,cd->abd", (None, 4))]
        )
        model.compile("sgd", "mse", jit_compile=jit_compile)
        losses.append(
            model.fit(x, y, epochs=2, batch_size=8, verbose=0, shuffle=False).history["loss"]
        )
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Einsum("ij,jk->i-k"), teg.EquationError, "letters, got '-'"),
        (
            lambda: Einsum("ij,jk->ik")([np.ones((2, 3))]),
            teg.EquationError,
            "a list of 2 tensors, got 1",
        ),
        (
            lambda: Einsum("ij,jk->ik")([np.ones((2, 3), "float32"), np.ones((4, 2), "float32")]),
            teg.SizeError,
            "label 'j', got 3 in operand 0",
        ),
        (
            lambda: Einsum("ij,jk->ik")([keras.Input([3]), keras.Input(batch_shape=[4, 2])]),
            teg.SizeError,
            "label 'j', got 3 in operand 0",
        ),
        (
            lambda: Einsum("bij->b")(keras.Input([3])),
            teg.SizeError,
            "requires rank 3 for operand 0",
        ),
        (
            lambda: EinsumDense("ab,bc->ac", 5)(keras.Input([3, 4])),
            teg.SizeError,
            "requires rank 2 for operand 0",
        ),
        (lambda: EinsumDense("ab->a", 5)(keras.Input([3])), ValueError, "ab->a"),
    ],
)
def test_wrong_inputs_get_a_clear_error(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_einsum_layer_shapes_without_a_call():
    assert Einsum("bqhd,bkhd->bhqk").compute_output_shape([(None, 7, 4, 16), (None, 9, 4, 16)]) == (
        None,
        4,
        7,
        9,
    )
    layer = Einsum("bi->bij", sizes={"j": 5})
    assert layer.compute_output_shape((None, 3)) == (None, 3, 5)
    assert layer(np.ones([2, 3], "float32")).shape == (2, 3, 5)
    assert Einsum.from_config(layer.get_config()).sizes == {"j": 5}
    each = keras.layers.TimeDistributed(Einsum("bij->bji"))
    assert each(keras.Input([6, 2, 3])).shape == (None, 6, 3, 2)
    with pytest.raises(teg.PathError, match="name of an optimiser, got 'gredy'"):
        Einsum("ij->i", optimize="gredy")


def test_options_reach_einsum_and_the_config(monkeypatch):
    seen = []
    run_call = backend.run_call
    monkeypatch.setattr(backend, "run_call", lambda *a, **k: seen.append(k) or run_call(*a, **k))
    options = {"optimize": "greedy", "sizes": {"k": 2}, "size_hints": {"i": 8}}
    options |= {"memory_limit": 10**6, "recompute": False}
    layer = Einsum("bi,bj->bijk", **options)
    again = Einsum.from_config(layer.get_config())
    for einsum in (layer, again):
        einsum([np.ones([2, 3], "float32"), np.ones([2, 4], "float32")])
    assert seen == [options, options]


def test_a_policy_casts_floats_only():
    layer = Einsum("bi,bi->b", dtype="mixed_float16")
    for dtype, expected in (("float32", "float16"), ("int32", "int32")):
        x = np.ones([2, 3], dtype)
        symbolic = layer([keras.Input([3], dtype=dtype)] * 2)
        assert symbolic.dtype == expected == layer([x, x]).dtype


def test_wrong_sizes_in_a_built_layer_name_the_label():
    layer = EinsumDense("...x,xy->...y", 5)
    layer.build((None, 4, 3))
    with pytest.raises(teg.SizeError, match=r"label 'x', got 7 in operand 0 .* and 3 in operand 1"):
        layer(np.ones([2, 4, 7], "float32"))


@pytest.mark.parametrize("layer", ["mha", "gqa"])
def test_attention_layers_give_the_same_numbers_under_installed(layer, monkeypatch):
    ours = []
    run_call = backend.run_call
    monkeypatch.setattr(backend, "run_call", lambda *args: ours.append(args) or run_call(*args))
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(2, 9, 16)).astype("float32"))
    results = []
    for use in (False, True):
        keras.utils.set_random_seed(3)
        attention = (
            keras.layers.MultiHeadAttention(4, 4)
            if layer == "mha"
            else keras.layers.GroupQueryAttention(4, 4, 2)
        )
        step = tf.function(lambda x, f=attention: _attend(f, x))
        with teg.installed() if use else contextlib.nullcontext():
            results.append(step(x))
        assert bool(ours) == use
    (y, grads), (y_, grads_) = results
    np.testing.assert_allclose(y, y_, rtol=1e-4, atol=1e-5)
    assert len(grads) == len(grads_) >= 8
    for g, g_ in zip(grads, grads_, strict=True):
        np.testing.assert_allclose(g, g_, rtol=1e-3, atol=1e-4)


def _attend(attention, x):
    # Scores asked for: that way Keras runs its einsums, not a fused attention.
    with tf.GradientTape() as tape:
        tape.watch(x)
        y, scores = attention(x, x, return_attention_scores=True)
        loss = tf.reduce_sum(y**2) + tf.reduce_sum(scores**2)
    return y, tape.gradient(loss, [x, *attention.trainable_variables])


def test_the_form_of_keras_docstring_is_far_faster_under_installed():
    """Native builds the kernel's gradient once per position, then sums."""
    import time

    x = tf.random.normal([8, 128, 192])

    def median_step(use):
        layer = keras.layers.EinsumDense("...x,xy->...y", output_shape=192)
        layer.build(x.shape)

        @tf.function
        def step():
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(layer(x) ** 2)
            return tape.gradient(loss, layer.trainable_variables)

        def run():
            start = time.perf_counter()
            step()[0].numpy()
            return time.perf_counter() - start

        with teg.installed() if use else contextlib.nullcontext():
            run()
        return sorted(run() for _ in range(5))[2]

    native, ours = median_step(False), median_step(True)
    assert native / ours > 20, f"{native:.4f} s against {ours:.4f} s"
