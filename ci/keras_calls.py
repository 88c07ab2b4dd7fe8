"""Every Keras layer, loss and activation that has a gradient, called at least once.

A line is a layer, then what it is called with (names of `tensorflow_calls.make_inputs`, or integers).
What has no gradient to check is named with the reason, so that a new layer does not go unnoticed.
"""

from __future__ import annotations

LAYERS = """
Activation("gelu") | x
ActivityRegularization(0.1) | x
AdaptiveAveragePooling1D(3) | signal
AdaptiveAveragePooling2D(4) | image
AdaptiveAveragePooling3D(3) | volume
AdaptiveMaxPooling1D(3) | signal
AdaptiveMaxPooling2D(4) | image
AdaptiveMaxPooling3D(3) | volume
Add() | [x, y]
AdditiveAttention() | [t, t]
AlphaDropout(0.3) | x
Attention() | [t, t]
Attention(use_scale=True, score_mode="concat") | [t, t]
Average() | [x, y]
AveragePooling1D(2) | signal
AveragePooling2D(2, 1, "same") | image
AveragePooling3D(2) | volume
BatchNormalization() | x
BatchNormalization(axis=1, scale=False) | image
Bidirectional(LSTM(3)) | time
Bidirectional(GRU(3, return_sequences=True), merge_mode="sum") | time
CenterCrop(3, 4) | image
Concatenate() | [x, y]
Conv1D(3, 3) | signal
Conv1D(4, 3, padding="causal", dilation_rate=2) | signal
Conv1D(4, 3, groups=2) | signal
Conv1DTranspose(3, 3, strides=2) | signal
Conv2D(3, 3, activation="relu") | image
Conv2D(3, 3, strides=2, padding="same") | image
Conv2D(3, 2, dilation_rate=2) | image
Conv2DTranspose(3, 3, strides=2, padding="same") | image
Conv3D(3, 2) | volume
Conv3DTranspose(3, 2) | volume
ConvLSTM1D(2, 2) | signal[None]
ConvLSTM2D(2, 2) | image[None]
ConvLSTM3D(2, 2) | volume[None]
Cropping1D(1) | signal
Cropping2D(1) | image
Cropping3D(1) | volume
Dense(3) | x
Dense(3, "tanh", kernel_regularizer="l2") | t
Dense(3, use_bias=False) | x
DepthwiseConv1D(3, depth_multiplier=2) | signal
DepthwiseConv2D(3, padding="same") | image
Dot(1) | [x, y]
Dot((2, 1), normalize=True) | [t, tf.transpose(t, [0, 2, 1])]
Dropout(0.4) | x
ELU() | x
EinsumDense("ab,bc->ac", 3, bias_axes="c") | x
EinsumDense("...x,xy->...y", 3, bias_axes="y") | t
Embedding(5, 3) | [[0, 4, 4], [1, 2, 0]]
Embedding(5, 3, mask_zero=True) | [[0, 4, 4], [1, 2, 0]]
Flatten() | image
GRU(3) | time
GRU(3, reset_after=False, return_sequences=True, go_backwards=True) | time
GRUCell(3) | x, [y[:, :3]]
GaussianDropout(0.3) | x
GaussianNoise(0.3) | x
GlobalAveragePooling1D() | signal
GlobalAveragePooling2D() | image
GlobalAveragePooling3D() | volume
GlobalMaxPooling1D() | signal
GlobalMaxPooling2D() | image
GlobalMaxPooling3D() | volume
GroupNormalization(2) | x
GroupNormalization(1) | image
GroupQueryAttention(3, 4, 2) | t, t
Identity() | x
LSTM(3) | time
LSTM(3, return_sequences=True, unroll=True, recurrent_dropout=0.2) | time
LSTM(3, return_sequences=True, dropout=0.2) | time
LSTMCell(3) | x, [y[:, :3], p[:, :3]]
Lambda(lambda v: v**2) | x
LayerNormalization() | x
LayerNormalization(axis=[1, 2], center=False) | t
LeakyReLU() | x
Masking() | t
MaxPooling1D(2) | signal
MaxPooling2D(2, 1, "same") | image
MaxPooling3D(2) | volume
Maximum() | [x, y]
MelSpectrogram(fft_length=8, sequence_stride=4, num_mel_bins=4, sampling_rate=100) | time[:, :, 0]
Minimum() | [x, y]
MultiHeadAttention(2, 3) | t, t
MultiHeadAttention(2, 3, value_dim=2, dropout=0.2) | t, t, t
Multiply() | [x, y]
Normalization(mean=[1.0, 2.0, 3.0, 4.0], variance=[1.0, 2.0, 0.5, 3.0]) | x
PReLU() | x
Permute((2, 1)) | t
RMSNormalization() | x
RNN(LSTMCell(3)) | time
RNN([GRUCell(3), SimpleRNNCell(2)]) | time
RandomBrightness(0.2, value_range=(0, 1)) | rgb
RandomContrast(0.4, value_range=(0, 1)) | rgb
RandomCrop(3, 3) | image
RandomFlip() | image
RandomRotation(0.2) | image
RandomShear(0.2, 0.2) | image
RandomTranslation(0.2, 0.2) | image
RandomZoom(0.3) | image
ReLU(negative_slope=0.1, max_value=1.0) | x
RepeatVector(3) | x
Rescaling(2.0, 1.0) | x
Reshape((2, 2)) | x
Resizing(9, 8) | image
Resizing(4, 3, "bicubic") | image
ReversibleEmbedding(5, 3) | [[0, 4, 4], [1, 2, 0]]
STFTSpectrogram(frame_length=8, frame_step=4, fft_length=8, window=None) | time[:, :, :1]
SeparableConv1D(3, 3) | signal
SeparableConv2D(3, 3, depth_multiplier=2) | image
SimpleRNN(3) | time
SimpleRNNCell(3) | x, [y[:, :3]]
Softmax() | x
SpatialDropout1D(0.3) | signal
SpatialDropout2D(0.3) | image
SpatialDropout3D(0.3) | volume
SpectralNormalization(Dense(3)) | x
StackedRNNCells([GRUCell(3), SimpleRNNCell(2)]) | x, [y[:, :3], p[:, :2]]
Subtract() | [x, y]
TimeDistributed(Dense(3)) | t
UnitNormalization() | x
UpSampling1D(2) | signal
UpSampling2D(2) | image
UpSampling2D(2, interpolation="bilinear") | image
UpSampling3D(2) | volume
ZeroPadding1D(1) | signal
ZeroPadding2D(1) | image
ZeroPadding3D(1) | volume
"""

LOSSES = """
BinaryCrossentropy() | r, q / 3
BinaryCrossentropy(from_logits=True, label_smoothing=0.1) | r, x
BinaryFocalCrossentropy() | r, q / 3
BinaryFocalCrossentropy(apply_class_balancing=True, from_logits=True) | r, x
CTC() | [[1, 2, 3]], time[:1]
CategoricalCrossentropy() | tf.nn.softmax(x), tf.nn.softmax(y)
CategoricalCrossentropy(from_logits=True) | tf.nn.softmax(x), y
CategoricalFocalCrossentropy() | tf.nn.softmax(x), tf.nn.softmax(y)
CategoricalGeneralizedCrossEntropy() | [1, 0, 3], tf.nn.softmax(y)
CategoricalHinge() | r, x
Circle() | [1, 0, 1], tf.math.l2_normalize(x, 1)
CosineSimilarity() | x, y
Dice() | r, q
Hinge() | tf.sign(x), y
Huber() | x, y
Huber(0.3) | x, y
KLDivergence() | tf.nn.softmax(x), tf.nn.softmax(y)
LogCosh() | x, y
MeanAbsoluteError() | x, y
MeanAbsolutePercentageError() | x, y
MeanSquaredError() | x, y
MeanSquaredLogarithmicError() | p, q
Poisson() | p, q
SparseCategoricalCrossentropy() | [1, 0, 3], tf.nn.softmax(y)
SparseCategoricalCrossentropy(from_logits=True, ignore_class=0) | [1, 0, 3], y
SquaredHinge() | tf.sign(x), y
Tversky() | r, q
"""

ACTIVATIONS = (
    "celu", "elu", "exponential", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh",
    "leaky_relu", "linear", "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu", "sigmoid",
    "silu", "soft_shrink", "softmax", "softplus", "softsign", "sparse_plus", "sparse_sigmoid",
    "sparsemax", "squareplus", "tanh", "tanh_shrink", "threshold",
)  # fmt: skip
ARGUMENTS = {"threshold": (0.5, 0.1)}  # what an activation takes beside its input

WITHOUT_GRADIENT = {
    "a base class or a description, no layer of its own": (
        "InputLayer", "InputSpec", "Layer", "Loss", "Pipeline", "Wrapper",
    ),
    "of integers and strings": (
        "CategoryEncoding", "Discretization", "HashedCrossing", "Hashing", "IntegerLookup", "MaxNumBoundingBoxes",
        "StringLookup", "TextVectorization",
    ),
    "of another framework, or of a saved model": (
        "FlaxLayer", "JaxLayer", "TFSMLayer", "TorchModuleWrapper",
    ),
    "an augmentation of images that draws anew at each call, or goes by way of integers": (
        "AugMix", "AutoContrast", "ContrastLimitedAdaptiveHistogramEqualization", "CutMix",
        "Equalization", "MixUp", "RandAugment", "RandomColorDegeneration", "RandomColorJitter",
        "RandomElasticTransform", "RandomErasing", "RandomGaussianBlur", "RandomGrayscale",
        "RandomHue", "RandomInvert", "RandomPerspective", "RandomPosterization",
        "RandomSaturation", "RandomSharpness", "Solarization",
    ),
}  # fmt: skip
