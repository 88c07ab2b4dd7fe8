"""One function for each model from a public package: it returns its loss function and variables."""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def _rng():
    return np.random.default_rng(0)


def _tokens(batch, length, vocabulary):
    return {
        "token_ids": tf.constant(_rng().integers(1, vocabulary, [batch, length]), tf.int32),
        "padding_mask": tf.ones([batch, length], tf.int32),
    }


def _keras_loss(layer, *inputs, **options):
    def loss():
        y = layer(*inputs, **options)
        return tf.reduce_mean(tf.square(tf.cast(tf.nest.flatten(y)[0], tf.float32)))

    loss()  # builds
    return loss, layer


def einsum_dense():
    """Keras: EinsumDense, the equation of its docstring, (32, 128, 512) by (512, 512)."""
    import keras

    x = tf.constant(_rng().normal(size=(32, 128, 512)).astype("float32"))
    return _keras_loss(keras.layers.EinsumDense("...x,xy->...y", 512, bias_axes="y"), x)


def multi_head_attention():
    """Keras: MultiHeadAttention, scores returned."""
    import keras

    x = tf.constant(_rng().normal(size=(8, 128, 128)).astype("float32"))
    layer = keras.layers.MultiHeadAttention(8, 16)
    return _keras_loss(layer, x, x, return_attention_scores=True)


def multi_head_attention_as_called():
    """Keras: MultiHeadAttention, as it is mostly called."""
    import keras

    x = tf.constant(_rng().normal(size=(8, 128, 128)).astype("float32"))
    return _keras_loss(keras.layers.MultiHeadAttention(8, 16), x, x)


def grouped_query_attention():
    """Keras: GroupQueryAttention, scores returned."""
    import keras

    x = tf.constant(_rng().normal(size=(8, 128, 128)).astype("float32"))
    layer = keras.layers.GroupQueryAttention(16, 8, 2)
    return _keras_loss(layer, x, x, return_attention_scores=True)


def keras_hub_bert():
    """KerasHub: BertBackbone, 2 layers."""
    import keras_hub

    model = keras_hub.models.BertBackbone(
        vocabulary_size=500, num_layers=2, num_heads=4, hidden_dim=128, intermediate_dim=256,
        max_sequence_length=64, dropout=0.0,
    )  # fmt: skip
    inputs = _tokens(8, 64, 500)
    return _keras_loss(model, {**inputs, "segment_ids": tf.zeros([8, 64], tf.int32)})


def keras_hub_gemma():
    """KerasHub: GemmaBackbone, 2 layers, grouped queries."""
    import keras_hub

    model = keras_hub.models.GemmaBackbone(
        vocabulary_size=500, num_layers=2, num_query_heads=4, num_key_value_heads=1,
        hidden_dim=128, intermediate_dim=512, head_dim=32,
    )  # fmt: skip
    return _keras_loss(model, _tokens(8, 64, 500))


def keras_hub_llama():
    """KerasHub: LlamaBackbone, 2 layers."""
    import keras_hub

    model = keras_hub.models.LlamaBackbone(
        vocabulary_size=500, num_layers=2, num_query_heads=4, num_key_value_heads=2,
        hidden_dim=128, intermediate_dim=256,
    )  # fmt: skip
    return _keras_loss(model, _tokens(8, 64, 500))


def keras_hub_xlnet():
    """KerasHub: XLNetBackbone, 2 layers."""
    import keras_hub

    model = keras_hub.models.XLNetBackbone(
        vocabulary_size=500, num_layers=2, num_heads=4, hidden_dim=64, intermediate_dim=128,
        dropout=0.0,
    )  # fmt: skip
    inputs = _tokens(4, 32, 500)
    return _keras_loss(model, {**inputs, "segment_ids": tf.zeros([4, 32], tf.int32)})


def gpflow_uncertain_inputs():
    """GPflow: SVGP's conditional at uncertain inputs, the expectations of its kernel."""
    import gpflow
    from gpflow.conditionals import uncertain_conditional

    rng = _rng()
    inducing = gpflow.inducing_variables.InducingPoints(rng.normal(size=(15, 2)))
    kernel = gpflow.kernels.SquaredExponential(lengthscales=[0.7, 1.3])
    q_mu = tf.Variable(rng.normal(size=(15, 3)))
    q_sqrt = tf.Variable(np.tril(rng.normal(size=(3, 15, 15)) * 0.1 + np.eye(15)))
    means = tf.constant(rng.normal(size=(40, 2)))
    covariances = tf.constant(np.tile(np.eye(2) * 0.3, (40, 1, 1)))

    def loss():
        mean, variance = uncertain_conditional(
            means, covariances, inducing, kernel, q_mu, q_sqrt, full_output_cov=True
        )
        return tf.reduce_mean(mean**2) + tf.reduce_mean(variance)

    module = tf.Module()
    module.parts = [kernel, inducing, q_mu, q_sqrt]
    return loss, module


def tfp_gram_schmidt():
    """TensorFlow Probability: gram_schmidt of a batch of vectors."""
    import tensorflow_probability as tfp

    vectors = tf.Variable(_rng().normal(size=(16, 24, 12)).astype("float32"))
    target = tf.constant(_rng().normal(size=(16, 24, 12)).astype("float32"))

    def loss():
        return tf.reduce_mean((tfp.math.gram_schmidt(vectors) - target) ** 2)

    module = tf.Module()
    module.parts = [vectors]
    return loss, module


def tensor_network():
    """TensorNetwork: a matrix product contracted with ncon and its own einsum, TensorFlow backend."""
    import tensornetwork as tn

    backend = tn.backends.backend_factory.get_backend("tensorflow")
    rng = _rng()
    cores = [tf.Variable(rng.normal(size=(12, 4, 12)).astype("float32") * 0.3) for _ in range(4)]

    def loss():
        left = backend.einsum("aib,bjc->aijc", cores[0].value(), cores[1].value())
        right = backend.einsum("aib,bjc->aijc", cores[2].value(), cores[3].value())
        joined = tn.ncon([left, right], [(1, -1, -2, 2), (2, -3, -4, 1)], backend="tensorflow")
        return tf.reduce_mean(backend.einsum("ijkl,ijkl->", joined, joined)) / 100

    module = tf.Module()
    module.parts = cores
    return loss, module


MODELS = [
    einsum_dense,
    multi_head_attention,
    multi_head_attention_as_called,
    grouped_query_attention,
    keras_hub_bert,
    keras_hub_gemma,
    keras_hub_llama,
    keras_hub_xlnet,
    gpflow_uncertain_inputs,
    tfp_gram_schmidt,
    tensor_network,
]
