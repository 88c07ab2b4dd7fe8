"""`keras.ops.einsum`'s contract on our op: Keras' dtype promotion, and shapes of symbolic tensors.

Keras' own sends integers through float32 (16777217 comes back as 16777216) and gets the shape of
many equations wrong before they run: upper case, spaces, repeated labels, mismatched sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_einsum_grad.algebra.names import read_call
from tf_einsum_grad.algebra.sizes import Shape, bind_call
from tf_einsum_grad.execution.call import run_call
from tf_einsum_grad.planning.path import Optimize, check_optimize

__all__ = ["backend_einsum", "compute_output_spec", "output_shape", "promoted_dtype"]


def backend_einsum(subscripts: Any, *operands: Any, **options: Any) -> tf.Tensor:
    """Computes what `keras.ops.einsum` does: mixed dtypes are promoted as Keras promotes them.

    Args:
        subscripts: an equation, or operands and sublists, as in `tf_einsum_grad.einsum`.
        *operands: whatever Keras converts to a tensor.
        **options: those of `tf_einsum_grad.einsum`.

    Returns:
        A tensor of the promoted dtype; int8 alone gives int32, as in Keras.

    Raises:
        EinsumError: as `tf_einsum_grad.einsum` does.

    Example:
        >>> int(backend_einsum("i,i->", [16777217], [1]))  # through float32: 16777216
        16777217
    """
    text, operands = read_call(subscripts, operands)
    tensors = [keras.ops.convert_to_tensor(x) for x in operands]
    dtype = promoted_dtype([keras.backend.standardize_dtype(x.dtype) for x in tensors])
    if dtype == "int32" and all(x.dtype == tf.int8 for x in tensors):
        return run_call(text, tensors, **{"dtype": dtype, **options})
    return run_call(text, [tf.cast(x, dtype) for x in tensors], **options)


def promoted_dtype(dtypes: Sequence[str]) -> str:
    """Returns the dtype of Keras' einsum of operands of these dtypes."""
    return "int32" if set(dtypes) == {"int8"} else keras.backend.result_type(*dtypes)


def compute_output_spec(
    subscripts: Any,
    *operands: Any,
    optimize: Optimize = "auto",
    sizes: Mapping[str, Any] | None = None,
    **_: Any,
) -> keras.KerasTensor:
    """Infers the shape and dtype of `keras.ops.einsum(subscripts, *operands)`.

    Args:
        subscripts: an equation, or operands and sublists, as in `tf_einsum_grad.einsum`.
        *operands: symbolic tensors, and whatever Keras converts to one.
        optimize, sizes: as in `tf_einsum_grad.einsum`; other options say nothing about the result.

    Raises:
        EinsumError: the equation, a rank, a size or `optimize` is wrong, and which.
    """
    check_optimize(optimize)
    text, operands = read_call(subscripts, operands)
    operands = tuple(
        keras.ops.convert_to_tensor(x) if isinstance(x, list | tuple) else x for x in operands
    )
    shapes = [tuple(getattr(x, "shape", ())) for x in operands]
    dtypes = [keras.backend.standardize_dtype(getattr(x, "dtype", type(x))) for x in operands]
    return keras.KerasTensor(output_shape(text, shapes, sizes), dtype=promoted_dtype(dtypes))


def output_shape(
    text: str, shapes: Sequence[Shape], sizes: Mapping[str, Any] | None = None
) -> Shape:
    """Infers the shape of an einsum, None where a size is unknown.

    Args:
        text: the equation.
        shapes: the operands'.
        sizes: sizes of output labels that no operand has, as in `tf_einsum_grad.einsum`.

    Raises:
        EquationError: the equation cannot be read, or does not fit the number of operands.
        SizeError: a rank does not fit its subscripts, or a label has two sizes or none.

    Example:
        >>> output_shape("...x,xy->...y", [(None, 32, 128), (128, 64)])
        (None, 32, 64)
    """
    binding = bind_call(text, shapes, sizes)
    bound = dict(binding.sizes)
    return tuple(bound[label] for label in binding.equation.output)
