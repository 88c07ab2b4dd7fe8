"""Layers with LoRA, run without a gradient of the kernel's size where that costs less.

Keras' `EinsumDense` and `Dense` merge the kernel with its factors at every step, and so
differentiate all of the kernel. The same numbers come of the kernel and the factors by themselves.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tf_einsum_grad.execution import private as tensorflow_private
from tf_einsum_grad.execution.machines import current_target, machine_of
from tf_einsum_grad.keras.backend import backend_einsum
from tf_einsum_grad.planning.lora import apart_costs_less, factored_equation

__all__ = ["Factors", "finish", "lora_product", "with_lora"]

# Of a layer: its kernel, the two factors, and what multiplies them; None where it has no LoRA.
Factors = Callable[[Any], "tuple[Any, Any, Any, float] | None"]


def lora_product(
    layer: Any, equation: str, inputs: Any, factors: Factors, training: bool | None
) -> tf.Tensor | None:
    """The product of a layer's inputs with its kernel and its factors, apart.

    Args:
        layer: Keras' `EinsumDense` or `Dense`, or one of their kind, built.
        equation: of inputs and kernel.
        inputs: what the layer is called with.
        factors: finds the kernel's parts.
        training: as the layer's `call` has it; a tape that records says so as well.

    Returns:
        The product, before bias and activation; None where the merged kernel is what there is, or
        costs less.

    Raises:
        EinsumError: the inputs' rank or sizes do not fit the equation.
    """
    parts = factors(layer)
    if parts is None or not isinstance(inputs, tf.Tensor) or inputs.shape.rank is None:
        return None
    dtype = layer.compute_dtype
    kernel, a, b = (keras.ops.cast(x, dtype) for x in parts[:3])
    target = current_target()
    if not apart_costs_less(
        equation,
        tuple(inputs.shape),
        tuple(kernel.shape),
        int(b.shape[0]),
        dtype,
        bool(training) or tensorflow_private.recording(),
        target,
        machine_of([inputs], target),
    ):
        return None
    if parts[3] != 1:
        b = b * tf.cast(parts[3], b.dtype)
    delta = backend_einsum(factored_equation(equation), inputs, a, b)
    product: tf.Tensor = backend_einsum(equation, inputs, kernel) + delta
    return product


def with_lora(
    call: Callable[..., Any], equation: Callable[[Any], str], factors: Factors
) -> Callable[..., Any]:
    """A layer's `call` that does the same, its factors apart where that costs less.

    Args:
        call: of Keras' layer: product, bias, activation.
        equation: of a layer.
        factors: as in `lora_product`.
    """

    @functools.wraps(call)
    def call_apart(self: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        training = args[0] if args else kwargs.get("training")
        x = lora_product(self, equation(self), inputs, factors, training)
        return call(self, inputs, *args, **kwargs) if x is None else finish(self, x)

    return call_apart


def finish(layer: Any, x: Any) -> Any:
    """Adds the bias to a product, and runs it through the activation."""
    if layer.bias is not None:
        x = keras.ops.add(x, layer.bias)
    return x if layer.activation is None else layer.activation(x)
