"""Checks a 12-layer Keras transformer of 5 million parameters: order 1, eager, one direction.

Prints one line of JSON with what it took.
"""

from __future__ import annotations

import json
import os
import time

import keras
import numpy as np
from keras import layers

from tf_einsum_grad.gradcheck import check_gradients

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


def main() -> None:
    model = transformer()
    ids = np.random.default_rng(0).integers(0, VOCABULARY, (BATCH, LENGTH)).astype(np.int32)
    start, processor = time.perf_counter(), time.process_time()
    report = check_gradients(model, ids, training=True, n_directions=1)
    seconds = time.perf_counter() - start
    if not report.passed:
        print(report.summary())
    result = {
        "parameters": model.count_params(),
        "leaves": len(report.leaves),
        "status": str(report.status),
        "evaluations": report.evaluations,
        "backward_passes": report.backward_passes,
        "reference": report.reference,
        "seconds": round(seconds, 1),
        "processor_seconds": round(time.process_time() - processor, 1),
        "load": round(os.getloadavg()[0], 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
