"""Keras' attention layers on our attention: results as Keras' own, and who runs what."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_einsum_grad as teg
from tf_einsum_grad.attending import attend
from tf_einsum_grad.keras import private

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 10, 16)).astype("float32")
MASK = RNG.random((2, 10, 10)) < 0.7
MASK[:, :, 0] = True  # Keras averages the values of a row that sees nothing; ours is zero


@pytest.fixture
def calls(monkeypatch):
    """How often our attention ran."""
    seen = []
    run = attend._attend

    def counted(decided, tensors):
        seen.append(decided)
        return run(decided, tensors)

    monkeypatch.setattr(attend, "_attend", counted)
    return seen


LAYERS = (
    lambda **options: keras.layers.MultiHeadAttention(4, 8, **options),
    lambda **options: keras.layers.GroupQueryAttention(8, 4, 2, **options),
    lambda **options: keras.layers.GroupQueryAttention(8, 4, 1, **options),
)


def step(layer, options):
    with tf.GradientTape() as tape:
        y = layer(X, X, **options)
    return [y, *tape.gradient(y, layer.trainable_variables)]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(
    "options",
    [{}, {"use_causal_mask": True}, {"attention_mask": MASK}],
    ids=["plain", "causal", "mask"],
)
@pytest.mark.parametrize("jit", [None, False, True])
def test_layers_give_what_they_gave(calls, layer, options, jit):
    keras.utils.set_random_seed(0)
    layer = layer()
    want = step(layer, options)
    run = step if jit is None else tf.function(step, jit_compile=jit, autograph=False)
    with teg.installed(attention=True):
        got = run(layer, options)
    assert len(calls) == 1
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "call"),
    [({"dropout": 0.5}, {"training": True}), ({}, {"return_attention_scores": True})],
)
def test_dropout_and_scores_stay_as_they_are(calls, make, call):
    layer = LAYERS[0](**make)
    with teg.installed(attention=True):
        layer(X, X, **call)
    assert calls == []


def test_it_is_asked_for_and_given_back(calls):
    query = RNG.normal(size=(2, 5, 4, 8)).astype("float32")

    def run():
        keras.ops.dot_product_attention(query, query, query)
        return len(calls)

    assert run() == 0
    with teg.installed():
        assert run() == 0
        with teg.installed(attention=True):
            assert run() == 1
        assert run() == 1
    teg.install(attention=True)
    with teg.installed(attention=True):
        assert run() == 2
    assert run() == 3
    teg.uninstall()
    assert run() == 3


def test_where_keras_lacks_it_nothing_is_replaced(monkeypatch):
    monkeypatch.setattr(private, "_BACKEND_NN", ("keras.src.nowhere",))
    own = tf.einsum
    with pytest.raises(RuntimeError, match=r"requires keras\.src\.nowhere"):
        teg.install(attention=True)
    assert tf.einsum is own


@pytest.mark.parametrize("heads", [(4, 1), (6, 3)])
def test_options_of_the_op(calls, heads):
    n, n_keys = heads
    q = RNG.normal(size=(2, 5, n, 8)).astype("float32")
    k, v = (RNG.normal(size=(2, 7, n_keys, 8)).astype("float32") for _ in range(2))
    bias = RNG.normal(size=(2, n, 5, 7)).astype("float32")
    mask = RNG.random((1, 1, 5, 7)) < 0.9
    mask[..., 0] = True
    for options in ({"bias": bias, "scale": 0.3}, {"mask": mask}, {"is_causal": True}):
        repeated = [np.repeat(x, n // n_keys, axis=2) for x in (k, v)]
        want = keras.ops.dot_product_attention(q, *repeated, **options)
        with teg.installed(attention=True):
            got = keras.ops.dot_product_attention(q, k, v, **options)
        np.testing.assert_allclose(got, want, atol=1e-5)
    assert len(calls) == 3


def test_what_keras_refuses_it_still_refuses():
    x = np.ones((2, 5, 8), "float32")
    with teg.installed(attention=True), pytest.raises(ValueError, match="4D inputs"):
        keras.ops.dot_product_attention(x, x, x)


def test_a_model_trains_with_a_length_that_it_does_not_know(calls):
    inputs = keras.Input((None, 16))
    hidden = keras.layers.MultiHeadAttention(2, 4)(inputs, inputs, use_causal_mask=True)
    model = keras.Model(inputs, keras.layers.Dense(1)(hidden))
    model.compile("sgd", "mse")
    with teg.installed(attention=True):
        history = model.fit(X, X[..., :1], epochs=3, verbose=0).history["loss"]
    assert calls
    assert history[0] > history[-1]
