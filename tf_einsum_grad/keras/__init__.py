"""Keras layers on `tf_einsum_grad.einsum`, and what lets it take `keras.Input`s.

    layer = tf_einsum_grad.keras.EinsumDense("...x,xy->...y", output_shape=64)
    scores = tf_einsum_grad.keras.Einsum("bqhd,bkhd->bhqk")([query, key])

Both are registered with Keras, and so is `tf_einsum_grad.einsum` of `keras.Input`s, so models that
hold them are saved, and wherever `tf_einsum_grad` is imported loaded, like any other.
"""

from __future__ import annotations

from tf_einsum_grad.keras.layers import Einsum, EinsumDense
from tf_einsum_grad.keras.symbolic import EinsumOperation

__all__ = ["Einsum", "EinsumDense", "EinsumOperation"]
