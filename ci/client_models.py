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


def _images(batch, size):
    return tf.constant(_rng().normal(size=(batch, size, size, 3)).astype("float32"))


def _keras_loss(layer, *inputs, **options):
    # Layers end in a normalization: the mean square of what they return is 1, whatever the weights.
    y = tf.nest.flatten(layer(*inputs, **options))[0]
    weights = tf.constant(_rng().normal(size=y.shape).astype("float32"))

    def loss():
        y = tf.nest.flatten(layer(*inputs, **options))[0]
        return tf.reduce_mean(weights * tf.cast(y, tf.float32)) + 1.0  # so as not to be near 0

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


def keras_hub_gpt2():
    """KerasHub: GPT2Backbone, 2 layers."""
    import keras_hub

    model = keras_hub.models.GPT2Backbone(
        vocabulary_size=500, num_layers=2, num_heads=4, hidden_dim=128, intermediate_dim=512,
        max_sequence_length=64, dropout=0.0,
    )  # fmt: skip
    return _keras_loss(model, _tokens(8, 64, 500))


def keras_hub_mixtral():
    """KerasHub: MixtralBackbone, 2 layers, 4 experts."""
    import keras_hub

    model = keras_hub.models.MixtralBackbone(
        vocabulary_size=500, num_layers=2, num_query_heads=4, num_key_value_heads=2,
        hidden_dim=128, intermediate_dim=256, num_experts=4,
    )  # fmt: skip
    return _keras_loss(model, _tokens(8, 64, 500))


def keras_hub_falcon():
    """KerasHub: FalconBackbone, 2 layers."""
    import keras_hub

    model = keras_hub.models.FalconBackbone(
        vocabulary_size=500, num_layers=2, num_attention_heads=4, hidden_dim=128,
        intermediate_dim=512,
    )  # fmt: skip
    return _keras_loss(model, _tokens(8, 64, 500))


def keras_hub_deberta():
    """KerasHub: DebertaV3Backbone, 2 layers, disentangled attention."""
    import keras_hub

    model = keras_hub.models.DebertaV3Backbone(
        vocabulary_size=500, num_layers=2, num_heads=4, hidden_dim=128, intermediate_dim=256,
        max_sequence_length=64, bucket_size=32, dropout=0.0,
    )  # fmt: skip
    return _keras_loss(model, _tokens(4, 64, 500))


def keras_hub_t5():
    """KerasHub: T5Backbone, 2 layers of encoder and decoder."""
    import keras_hub

    model = keras_hub.models.T5Backbone(
        vocabulary_size=500, num_layers=2, num_heads=4, hidden_dim=128, intermediate_dim=256,
        dropout=0.0,
    )  # fmt: skip
    tokens = _tokens(8, 32, 500)
    inputs = {f"{side}_{name}": x for side in ("encoder", "decoder") for name, x in tokens.items()}
    return _keras_loss(model, inputs)


def keras_hub_whisper():
    """KerasHub: WhisperBackbone, speech, 2 layers of encoder and decoder."""
    import keras_hub

    model = keras_hub.models.WhisperBackbone(
        vocabulary_size=500, num_layers=2, num_heads=4, hidden_dim=128, intermediate_dim=256,
        num_mels=40, max_encoder_sequence_length=128, max_decoder_sequence_length=32,
    )  # fmt: skip
    tokens = {f"decoder_{name}": x for name, x in _tokens(4, 32, 500).items()}
    sound = tf.constant(_rng().normal(size=(4, 128, 40)).astype("float32"))
    return _keras_loss(model, {"encoder_features": sound, **tokens})


def keras_hub_vit():
    """KerasHub: ViTBackbone, 2 layers, images of 64 by 64."""
    import keras_hub

    model = keras_hub.models.ViTBackbone(
        image_shape=(64, 64, 3), patch_size=(8, 8), num_layers=2, num_heads=4, hidden_dim=128,
        mlp_dim=256,
    )  # fmt: skip
    return _keras_loss(model, _images(8, 64))


def keras_hub_vit_det():
    """KerasHub: ViTDetBackbone, windows and relative positions, images of 64 by 64."""
    import keras_hub

    model = keras_hub.models.ViTDetBackbone(
        hidden_size=64, num_layers=2, intermediate_dim=128, num_heads=4,
        global_attention_layer_indices=[1], image_shape=(64, 64, 3), patch_size=8,
        num_output_channels=32, window_size=4,
    )  # fmt: skip
    return _keras_loss(model, _images(4, 64))


def keras_hub_pali_gemma():
    """KerasHub: PaliGemmaBackbone, images and text, 2 layers each."""
    import keras_hub

    model = keras_hub.models.PaliGemmaBackbone(
        vocabulary_size=500, image_size=32, num_layers=2, num_query_heads=4,
        num_key_value_heads=1, hidden_dim=128, intermediate_dim=256, head_dim=32,
        vit_patch_size=8, vit_num_heads=4, vit_hidden_dim=64, vit_num_layers=2,
        vit_intermediate_dim=128,
    )  # fmt: skip
    tokens = _tokens(4, 32, 500)
    response = tf.zeros([4, 32], tf.int32)
    return _keras_loss(model, {"images": _images(4, 32), "response_mask": response, **tokens})


def keras_hub_flux():
    """KerasHub: FluxBackbone, diffusion, a block of two streams and one of one."""
    import keras_hub

    model = keras_hub.models.FluxBackbone(
        input_channels=32, hidden_size=128, mlp_ratio=2.0, num_heads=4, depth=1,
        depth_single_blocks=1, axes_dim=[8, 12, 12], theta=10000, use_bias=True,
        image_shape=(64, 32), text_shape=(16, 48), image_ids_shape=(64, 3),
        text_ids_shape=(16, 3), y_shape=(32,),
    )  # fmt: skip
    rng = _rng()
    shapes = {"image": (2, 64, 32), "text": (2, 16, 48), "y": (2, 32)}
    inputs = {x: tf.constant(rng.normal(size=n).astype("float32")) for x, n in shapes.items()}
    inputs |= {"image_ids": tf.zeros([2, 64, 3]), "text_ids": tf.zeros([2, 16, 3])}
    inputs |= {"timesteps": tf.constant([0.3, 0.6]), "guidance": tf.ones([2])}
    return _keras_loss(model, inputs)


def keras_hub_vae():
    """KerasHub: VAEBackbone, Stable Diffusion's autoencoder, images of 32 by 32."""
    from keras_hub.src.models.vae.vae_backbone import VAEBackbone

    model = VAEBackbone([32, 32], [1, 1], [32, 32], [1, 1], sampler_method="mode")
    return _keras_loss(model, _images(2, 32))


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


def gpflow_mean_functions():
    """GPflow: expectation of a product of linear mean functions at uncertain inputs."""
    import gpflow

    rng = _rng()
    means = [
        gpflow.mean_functions.Linear(rng.normal(size=(6, n)), rng.normal(size=(n,))) for n in (4, 5)
    ]
    spread = tf.constant(np.tile(np.eye(6) * 0.3, (200, 1, 1)))
    inputs = gpflow.probability_distributions.Gaussian(
        tf.constant(rng.normal(size=(200, 6))), spread
    )
    weights = tf.constant(rng.normal(size=(200, 4, 5)))
    module = tf.Module()
    module.parts = means
    return lambda: tf.reduce_mean(
        weights * gpflow.expectations.expectation(inputs, means[0], means[1])
    ), module


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


def tfp_hidden_markov_model():
    """TensorFlow Probability: mean and variance of what a hidden Markov model shows."""
    import tensorflow_probability as tfp

    rng = _rng()
    shapes = ((8,), (8, 8), (8,))
    values = [tf.Variable(rng.normal(size=n).astype("float32")) for n in shapes]
    weights = tf.constant(rng.normal(size=(20,)).astype("float32"))

    def loss():
        tfd = tfp.distributions
        initial, transition = (tfd.Categorical(logits=x) for x in values[:2])
        model = tfd.HiddenMarkovModel(initial, transition, tfd.Normal(values[2], 0.5), 20)
        return tf.reduce_mean(weights * (model.mean() + model.variance()))

    module = tf.Module()
    module.parts = values
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


def einops_program():
    """einops: multi-head attention of a set, written with einops.einsum, rearrange and reduce."""
    import einops
    import einops.layers.keras  # makes the backend known

    rng = _rng()
    weights = [
        tf.Variable(rng.normal(size=(3, 8, 64, 16)).astype("float32") / 8),
        tf.Variable(rng.normal(size=(8, 16, 64)).astype("float32") / 11),
    ]
    x = tf.constant(rng.normal(size=(16, 96, 64)).astype("float32"))
    target = tf.constant(rng.normal(size=(16, 64)).astype("float32"))

    def loss():
        q, k, v = tf.unstack(
            einops.einsum(x, weights[0].value(), "b t d, one h d c -> one b h t c")
        )
        scores = tf.nn.softmax(einops.einsum(q, k, "b h t c, b h s c -> b h t s") / 4)
        mixed = einops.einsum(scores, v, weights[1].value(), "b h t s, b h s c, h c d -> b t d")
        return tf.reduce_mean(tf.square(einops.reduce(x + mixed, "b t d -> b d", "mean") - target))

    module = tf.Module()
    module.parts = weights
    return loss, module


def _prompt(batch, length, given, vocabulary):
    inputs = _tokens(batch, length, vocabulary)
    inputs["padding_mask"] = tf.constant([[1] * given + [0] * (length - given)] * batch, tf.int32)
    return inputs


def generate_gemma():
    """KerasHub: GemmaCausalLM, 2 layers, 32 tokens after 32."""
    import keras_hub

    backbone = keras_hub.models.GemmaBackbone(
        vocabulary_size=500, num_layers=2, num_query_heads=4, num_key_value_heads=1,
        hidden_dim=128, intermediate_dim=512, head_dim=32,
    )  # fmt: skip
    return keras_hub.models.GemmaCausalLM(backbone), _prompt(8, 64, 32, 500)


def generate_gpt2():
    """KerasHub: GPT2CausalLM, 2 layers, 32 tokens after 32."""
    import keras_hub

    backbone = keras_hub.models.GPT2Backbone(
        vocabulary_size=500, num_layers=2, num_heads=4, hidden_dim=128, intermediate_dim=512,
        max_sequence_length=64, dropout=0.0,
    )  # fmt: skip
    return keras_hub.models.GPT2CausalLM(backbone), _prompt(8, 64, 32, 500)


def generate_llama():
    """KerasHub: LlamaCausalLM, 2 layers, 32 tokens after 32."""
    import keras_hub

    backbone = keras_hub.models.LlamaBackbone(
        vocabulary_size=500, num_layers=2, num_query_heads=4, num_key_value_heads=2,
        hidden_dim=128, intermediate_dim=256,
    )  # fmt: skip
    return keras_hub.models.LlamaCausalLM(backbone), _prompt(8, 64, 32, 500)


MODELS = [
    einsum_dense,
    multi_head_attention,
    multi_head_attention_as_called,
    grouped_query_attention,
    keras_hub_bert,
    keras_hub_gemma,
    keras_hub_llama,
    keras_hub_xlnet,
    keras_hub_gpt2,
    keras_hub_mixtral,
    keras_hub_falcon,
    keras_hub_deberta,
    keras_hub_t5,
    keras_hub_whisper,
    keras_hub_vit,
    keras_hub_vit_det,
    keras_hub_pali_gemma,
    keras_hub_flux,
    keras_hub_vae,
    gpflow_uncertain_inputs,
    gpflow_mean_functions,
    tfp_gram_schmidt,
    tfp_hidden_markov_model,
    tensor_network,
    einops_program,
]

GENERATIONS = [generate_gemma, generate_gpt2, generate_llama]
