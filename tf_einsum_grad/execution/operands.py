"""What callers pass as operands -> tensors of one dtype, or an error that names the operand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_einsum_grad.algebra.dtypes import DTYPES
from tf_einsum_grad.algebra.errors import OperandError
from tf_einsum_grad.algebra.sizes import Shape
from tf_einsum_grad.execution import private

__all__ = ["check_dtypes", "convert_operands", "eager_signature"]


def convert_operands(equation: str, operands: Sequence[Any]) -> list[tf.Tensor]:
    """Tensors of one dtype.

    Python numbers and lists take the dtype of the first operand that has one of its own, or of the
    widest among them. So do NumPy's arrays and numbers next to a tensor, as in every TensorFlow op,
    but not from float to integer.

    Raises:
        OperandError: an operand is no dense tensor, or dtypes differ.
    """
    if all(type(x) is private.EAGER_TENSOR for x in operands):
        tensors = list(operands)
    else:
        operands = [_convert_tensor_like(equation, k, x) for k, x in enumerate(operands)]
        typed = [x.dtype for x in operands if isinstance(x, tf.Tensor)]
        arrays = [x.dtype for x in operands if isinstance(x, np.ndarray)]
        dtype = next(map(tf.as_dtype, [*typed, *arrays]), None)
        tensors = [_convert(equation, k, x, dtype, bool(typed)) for k, x in enumerate(operands)]
        if dtype is None:
            widest = max((x.dtype for x in tensors), key=_width)
            tensors = [_convert(equation, k, x, widest, False) for k, x in enumerate(operands)]
    check_dtypes(equation, [x.dtype for x in tensors])
    return tensors


def check_dtypes(equation: str, dtypes: Sequence[tf.DType]) -> None:
    """Sees to it that operands have one dtype, and one that can be multiplied.

    Raises:
        OperandError: they do not.
    """
    first = dtypes[0]
    for k, dtype in enumerate(dtypes):
        if dtype != first:
            raise OperandError(
                f"einsum {equation!r} requires operands of one dtype, got {first.name} for operand "
                f"0 and {dtype.name} for operand {k}"
            )
    if first.name not in DTYPES:
        raise OperandError(
            f"einsum {equation!r} requires a numeric dtype, got {first.name} for operand 0"
        )


def eager_signature(
    operands: Sequence[Any],
) -> tuple[tuple[Shape, ...], tuple[tf.DType, ...]] | None:
    """The shapes and dtypes of an eager call's tensors; None for any other operands, or in graphs.

    On the path of every eager call, so it is written for speed.
    """
    for x in operands:
        if type(x) is not private.EAGER_TENSOR:
            return None
    if not tf.executing_eagerly():
        return None
    shapes: list[Any] = [private.shape_tuple(x) for x in operands]  # an eager tensor has a rank
    return tuple(shapes), tuple([x.dtype for x in operands])


def _width(dtype: tf.DType) -> tuple[bool, bool, bool, int]:
    return dtype.is_complex, dtype.is_floating, dtype.is_integer, dtype.size


_WITHOUT_DTYPE = (int, float, complex, list, tuple, np.ndarray, np.generic)


def _convert_tensor_like(equation: str, k: int, x: Any) -> Any:
    """A tensor for whatever has a dtype of its own: a variable of TensorFlow's or Keras', ..."""
    if isinstance(x, (tf.Tensor, *_WITHOUT_DTYPE)):
        return x
    if isinstance(x, tf.RaggedTensor):
        raise OperandError(
            f"einsum {equation!r} requires dense tensors, or one sparse one, got RaggedTensor for "
            f"operand {k}; x.to_tensor() pads it with zeros, x.to_sparse() leaves them out"
        )
    if x is None or isinstance(x, tf.SparseTensor | tf.IndexedSlices):
        raise OperandError(
            f"einsum {equation!r} requires dense tensors, got {type(x).__name__} for operand {k}"
        )
    return _convert(equation, k, x, None, False)


def _convert(
    equation: str, k: int, x: Any, dtype: tf.DType | None, beside_tensor: bool
) -> tf.Tensor:
    if isinstance(x, tf.Tensor):
        return x
    weak = isinstance(x, int | float | complex | list | tuple)
    if beside_tensor and dtype is not None and isinstance(x, np.ndarray | np.generic):
        weak = np.can_cast(x.dtype, dtype.as_numpy_dtype, "same_kind")
    try:
        return tf.convert_to_tensor(x, dtype=dtype if weak else None)
    except (TypeError, ValueError) as error:
        wanted = f" of dtype {dtype.name}" if weak and dtype is not None else ""
        raise OperandError(
            f"einsum {equation!r} requires operands that convert to a tensor{wanted}, got "
            f"{type(x).__name__} for operand {k}: {error}"
        ) from error
