"""Models and functions that users hand in to be measured, and how they are called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tf_einsum_grad.algebra.errors import OperandError

__all__ = ["as_tensors", "call", "differentiable", "is_keras"]


def is_keras(function: object) -> bool:
    """Whether it is a layer or a model of Keras', which takes `training`."""
    return hasattr(function, "trainable_variables") and hasattr(function, "get_config")


def as_tensors(who: str, inputs: Sequence[Any]) -> list[Any]:
    """Each input, or structure of inputs, as tensors.

    Args:
        who: requires them, for the message.
        inputs: one for each argument.

    Raises:
        OperandError: an input is no tensor.
    """

    def convert(k: int, x: Any) -> tf.Tensor:
        try:
            return tf.convert_to_tensor(x)
        except (TypeError, ValueError) as error:
            raise OperandError(
                f"{who} requires tensors or arrays as inputs, got {type(x).__name__} for input {k}"
            ) from error

    return [
        tf.nest.map_structure(lambda leaf, k=k: convert(k, leaf), x) for k, x in enumerate(inputs)
    ]


def call(function: Callable[..., Any], inputs: Sequence[Any], training: bool = True) -> Any:
    """Calls a function with its arguments; a Keras model of several inputs takes them as a list."""
    if not is_keras(function):
        return function(*inputs)
    if len(inputs) > 1 and len(getattr(function, "inputs", None) or ()) == len(inputs):
        return function(list(inputs), training=training)
    return function(*inputs, training=training)


def differentiable(structure: Any) -> list[tf.Tensor]:
    """The tensors of a structure that have gradients."""
    leaves = tf.nest.flatten(structure)
    return [x for x in leaves if x.dtype.is_floating or x.dtype.is_complex]
