"""Keras layers on `tf_einsum_grad.einsum`, and what lets it take `keras.Input`s.

    layer = tf_einsum_grad.keras.EinsumDense("...x,xy->...y", output_shape=64)
    scores = tf_einsum_grad.keras.Einsum("bqhd,bkhd->bhqk")([query, key])

Both are registered with Keras, so models that hold them are saved and loaded like any other.
"""

from __future__ import annotations

from tf_einsum_grad.keras.layers import Einsum, EinsumDense

__all__ = ["Einsum", "EinsumDense"]
