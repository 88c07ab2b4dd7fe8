"""The float64 reference on many kinds of Keras model, and what it says where it cannot."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L

from tests.gradcheck.helpers import x
from tf_einsum_grad.gradcheck import check_gradients


def sequential(shape, *layers, dtype="float32"):
    return keras.Sequential([keras.Input(shape, dtype=dtype), *layers])


class Control(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = L.Dense(4)

    def call(self, inputs):
        h = self.dense(inputs)
        h = tf.cond(tf.reduce_sum(h) > 0, lambda: tf.sin(h), lambda: tf.cos(h))
        return tf.while_loop(lambda i, h: i < 3, lambda i, h: (i + 1, self.dense(h)), [0, h])[1]


def mixed(policy):
    inputs = keras.Input((8,))
    h = L.Dense(16, "relu", dtype=policy)(inputs)
    h = L.Dropout(0.2, dtype=policy)(L.BatchNormalization(dtype=policy)(h))
    return keras.Model(inputs, L.Dense(3, dtype="float32")(h))


def train_step():
    """The loss of a custom training step: a gradient penalty and control flow."""
    model = sequential((4,), L.Dense(3, "tanh"), L.Dense(2))
    targets = x(4, 2, seed=1)

    def loss(inputs):
        with tf.GradientTape() as tape:
            error = tf.reduce_mean((model(inputs, training=True) - targets) ** 2)
        norms = [tf.reduce_sum(g**2) for g in tape.gradient(error, model.trainable_variables)]
        return tf.cond(error > 1e-3, lambda: error + 0.1 * tf.add_n(norms), lambda: error)

    return loss


TRAIN = {"training": True}


MODELS = {
    "conv1d": lambda: (sequential((8, 2), L.Conv1D(3, 3, padding="causal")), x(2, 8, 2), {}),
    "conv2d": lambda: (sequential((5, 5, 2), L.Conv2D(3, 3, activation="tanh")), x(2, 5, 5, 2), {}),
    "conv3d": lambda: (sequential((3, 3, 3, 1), L.Conv3D(2, 2)), x(1, 3, 3, 3, 1), {}),
    "transposed conv": lambda: (sequential((3, 3, 2), L.Conv2DTranspose(2, 3)), x(1, 3, 3, 2), {}),
    "separable conv": lambda: (sequential((5, 5, 2), L.SeparableConv2D(3, 3)), x(1, 5, 5, 2), {}),
    "depthwise conv": lambda: (sequential((5, 5, 2), L.DepthwiseConv2D(3)), x(1, 5, 5, 2), {}),
    "pooling": lambda: (sequential((4, 4, 2), L.MaxPooling2D(2), L.AveragePooling2D(2)), x(2, 4, 4, 2), {}),
    "lstm, dropout": lambda: (sequential((4, 3), L.LSTM(3, dropout=0.3, recurrent_dropout=0.3)), x(2, 4, 3), TRAIN),
    "gru": lambda: (sequential((4, 3), L.GRU(3)), x(2, 4, 3), {}),
    "simple rnn": lambda: (sequential((4, 3), L.SimpleRNN(3)), x(2, 4, 3), {}),
    "bidirectional": lambda: (sequential((4, 3), L.Bidirectional(L.LSTM(2))), x(2, 4, 3), {}),
    "masked embedding": lambda: (
        sequential((4,), L.Embedding(7, 3, mask_zero=True), L.GRU(2), dtype="int32"),
        tf.constant([[1, 2, 0, 0], [3, 4, 5, 6]]),
        {},
    ),
    "attention": lambda: (L.Attention(use_scale=True), [x(2, 4, 3), x(2, 5, 3, seed=1)], {}),
    "multi-head attention": lambda: (L.MultiHeadAttention(2, 3, dropout=0.2), (x(2, 4, 6), x(2, 5, 6)), TRAIN),
    "grouped-query attention": lambda: (L.GroupQueryAttention(4, 4, 2), (x(2, 4, 6), x(2, 5, 6)), {}),
    "layer norm": lambda: (sequential((6,), L.LayerNormalization()), x(4, 6), {}),
    "batch norm": lambda: (sequential((6,), L.Dense(3), L.BatchNormalization()), x(4, 6), TRAIN),
    "group norm": lambda: (sequential((6,), L.GroupNormalization(3)), x(4, 6), {}),
    "rms norm": lambda: (sequential((6,), L.RMSNormalization()), x(4, 6), {}),
    "spectral norm": lambda: (L.SpectralNormalization(L.Dense(3)), x(4, 6), TRAIN),
    "noise": lambda: (sequential((6,), L.GaussianNoise(0.3), L.Dense(3), L.AlphaDropout(0.2)), x(4, 6), TRAIN),
    "activations": lambda: (sequential((6,), L.Dense(5, "gelu"), L.Dense(5, "silu"), L.Dense(4, "softmax")), x(4, 6), {}),
    "einsum dense": lambda: (sequential((4, 6), L.EinsumDense("abc,cd->abd", (None, 5))), x(2, 4, 6), {}),
    "mixed bfloat16": lambda: (mixed("mixed_bfloat16"), x(6, 8), TRAIN),
    "mixed float16": lambda: (mixed("mixed_float16"), x(6, 8), TRAIN),
    "control flow": lambda: (Control(), x(2, 4), {}),
    "custom train step": lambda: (train_step(), x(4, 4), {}),
    "resizing": lambda: (sequential((3, 3, 2), L.UpSampling2D(2, interpolation="bilinear")), x(1, 3, 3, 2), {}),
}  # fmt: skip


@pytest.mark.parametrize("kind", MODELS)
def test_the_promoted_graph_serves_as_reference(kind):
    keras.utils.set_random_seed(0)
    model, inputs, options = MODELS[kind]()
    report = check_gradients(model, inputs, n_directions=1, **options)
    assert report.passed, report.summary()
    assert report.reference == "promote"
    assert not any("other values" in warning for warning in report.warnings), report.warnings


def test_an_op_without_a_float64_kernel_stays_native_and_is_named():
    def fn(v, scale, offset):
        return tf.compat.v1.nn.fused_batch_norm(v, scale, offset)[0]

    report = check_gradients(fn, (x(4, 3, 3, 2), x(2) + 2, x(2, seed=1)))
    assert report.passed and report.reference == "promote"
    assert any("FusedBatchNormV3" in warning for warning in report.warnings)


def test_what_cannot_be_traced_falls_back_to_native_and_says_so():
    report = check_gradients(lambda v: tf.sin(v) * float(v.numpy().size), x(5))
    assert report.passed and report.reference == "native"
    assert any("cannot be traced" in warning for warning in report.warnings)


def test_a_clone_can_be_asked_for():
    model = sequential((4,), L.Dense(3, "tanh", dtype="mixed_float16"), L.LayerNormalization())
    before = [v.numpy() for v in model.variables]
    report = check_gradients(model, x(2, 4), reference="clone")
    assert report.passed and report.reference == "clone"
    assert all(np.array_equal(a, v.numpy()) for a, v in zip(before, model.variables, strict=True))
    with pytest.raises(ValueError, match="only a Keras layer or model can be cloned"):
        check_gradients(tf.sin, x(2), reference="clone")


def test_the_native_reference_catches_gross_errors():
    @tf.custom_gradient
    def fn(v):
        return tf.sin(v), lambda dy: dy * 1.5 * tf.cos(v)

    assert check_gradients(fn, x(5), reference="native").status == "FAIL"
    assert check_gradients(tf.sin, x(5), reference="native").passed


def test_without_the_private_functions_there_is_still_a_reference(monkeypatch):
    from tf_einsum_grad.gradcheck import private

    def missing(*args):
        raise private.Unavailable("gone")

    monkeypatch.setattr(private, "register_functions", missing)
    report = check_gradients(tf.sin, x(5))
    assert report.passed and report.reference == "native"
    assert any("gone" in warning for warning in report.warnings)
