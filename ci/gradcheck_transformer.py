"""A 12-layer Keras transformer of 5 million parameters, for ci/gradcheck_tables."""

from __future__ import annotations

import keras
from keras import layers

LAYERS, WIDTH, HEADS, FEED_FORWARD, VOCABULARY, LENGTH, BATCH = 12, 184, 4, 736, 1000, 16, 2


def transformer() -> keras.Model:
    keras.utils.set_random_seed(0)
    ids = keras.Input((LENGTH,), dtype="int32")
    h = layers.Embedding(VOCABULARY, WIDTH)(ids)
    for _ in range(LAYERS):
        n = layers.LayerNormalization()(h)
        n = layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(n, n, use_causal_mask=True)
        h = layers.Add()([h, layers.Dropout(0.1)(n)])
        n = layers.LayerNormalization()(h)
        n = layers.Dense(FEED_FORWARD, "gelu")(n)
        h = layers.Add()([h, layers.Dropout(0.1)(layers.Dense(WIDTH)(n))])
    return keras.Model(ids, layers.Dense(VOCABULARY)(layers.LayerNormalization()(h)))
