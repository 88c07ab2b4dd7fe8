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

__all__ = [
    "check_dtypes",
    "convert_operands",
    "eager_signature",
    "eager_tensors",
    "read_dtype",
    "signature",
]

_raw: Any = tf.raw_ops  # generated, and without types

Signature = tuple[tuple[Shape, ...], tuple[tf.DType, ...]]


def convert_operands(
    equation: str, operands: Sequence[Any], dtype: tf.DType | None = None
) -> list[tf.Tensor]:
    """Tensors of one dtype.

    Python numbers and lists take the dtype of the first operand that has one of its own, or of the
    widest among them. So do NumPy's arrays and numbers, as in every TensorFlow op, but not from
    float to integer.

    Args:
        equation: for messages.
        operands: whatever converts to a dense tensor.
        dtype: what every operand is widened to, if any.

    Raises:
        OperandError: an operand is no dense tensor, or dtypes differ, or are wider than `dtype`.
    """
    tensors = list(operands)
    if not all(type(x) is private.EAGER_TENSOR for x in operands):
        operands = [_convert_tensor_like(equation, k, x) for k, x in enumerate(operands)]
        typed = [x.dtype for x in operands if isinstance(x, tf.Tensor)] or [
            _tensor_dtype(equation, k, x)
            for k, x in enumerate(operands)
            if isinstance(x, np.ndarray)
        ]
        first = typed[0] if typed else dtype
        tensors = [_convert(equation, k, x, first) for k, x in enumerate(operands)]
        if first is None:
            widest = max((x.dtype for x in tensors), key=_width)
            tensors = [_convert(equation, k, x, widest) for k, x in enumerate(operands)]
    if dtype is not None:
        return [_widen(equation, k, x, dtype) for k, x in enumerate(tensors)]
    check_dtypes(equation, [x.dtype for x in tensors])
    return tensors


def read_dtype(equation: str, dtype: Any) -> tf.DType | None:
    """The dtype that a caller asks for.

    Raises:
        OperandError: it is no numeric dtype.
    """
    if dtype is None:
        return None
    try:
        wanted = tf.as_dtype(dtype)
    except TypeError as error:
        raise OperandError(f"einsum {equation!r} requires a dtype, got {dtype!r}") from error
    if wanted.name not in DTYPES:
        raise OperandError(f"einsum {equation!r} requires a numeric dtype, got dtype={wanted.name}")
    return wanted


def _widen(equation: str, k: int, x: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    if not np.can_cast(x.dtype.as_numpy_dtype, dtype.as_numpy_dtype, "safe"):
        raise OperandError(
            f"einsum {equation!r} requires a dtype that holds what its operands hold, got "
            f"dtype={dtype.name} and {x.dtype.name} for operand {k}"
        )
    return x if x.dtype == dtype else tf.cast(x, dtype)


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
                f"0 and {dtype.name} for operand {k}; dtype=... computes in one that holds both"
            )
    if first.name not in DTYPES:
        raise OperandError(
            f"einsum {equation!r} requires a numeric dtype, got {first.name} for operand 0"
        )


def eager_signature(operands: Sequence[Any]) -> Signature | None:
    """The signature of an eager call's tensors; None for any other operands, or in graphs.

    On the path of every eager call, so it is written for speed.
    """
    for x in operands:
        if type(x) is not private.EAGER_TENSOR:
            return None
    return signature(operands) if tf.executing_eagerly() else None


def eager_tensors(operands: Sequence[Any]) -> list[tf.Tensor] | None:
    """Tensors for tensors, variables and arrays of one dtype, in eager mode; None for any others.

    What `convert_operands` makes of them, in a third of its time.
    """
    tensors = []
    for x in operands:
        kind = type(x)
        if kind is not private.EAGER_TENSOR:
            if kind is np.ndarray:
                try:
                    x = tf.constant(x)
                except (TypeError, ValueError):
                    return None  # `convert_operands` says what is wrong
            elif kind is private.VARIABLE:
                x = _read(x)
            else:
                return None
        tensors.append(x)
    first = tensors[0].dtype
    for x in tensors:
        if x.dtype is not first:
            return None
    return tensors


def _read(variable: Any) -> tf.Tensor:
    """A variable's value, in a third to two thirds of `tf.convert_to_tensor`'s time."""
    if private.recording():  # an op of a variable says so to tapes
        value: tf.Tensor = _raw.Identity(input=variable)
    else:
        value = _raw.ReadVariableOp(resource=variable.handle, dtype=variable.dtype)
    return value


def signature(tensors: Sequence[tf.Tensor]) -> Signature:
    """The shapes and dtypes of tensors whose ranks are known."""
    shapes: list[Any] = [private.shape_tuple(x) for x in tensors]
    return tuple(shapes), tuple([x.dtype for x in tensors])


def _width(dtype: tf.DType) -> tuple[bool, bool, bool, int]:
    return dtype.is_complex, dtype.is_floating, dtype.is_integer, dtype.size


_AS_THEY_ARE = (tf.Tensor, int, float, complex, list, tuple, np.ndarray, np.generic)


def _convert_tensor_like(equation: str, k: int, x: Any) -> Any:
    """A tensor for whatever has a dtype of its own: a variable of TensorFlow's or Keras', ..."""
    if isinstance(x, _AS_THEY_ARE):
        return x
    if isinstance(x, tf.RaggedTensor):
        raise OperandError(
            f"einsum {equation!r} requires dense tensors, or one sparse one, got RaggedTensor for "
            f"operand {k}; x.to_tensor() pads it with zeros, x.to_sparse() leaves them out"
        )
    if x is None or isinstance(x, tf.SparseTensor):
        raise OperandError(
            f"einsum {equation!r} requires dense tensors, got {type(x).__name__} for operand {k}"
        )
    return _convert(equation, k, x, None)


def _tensor_dtype(equation: str, k: int, x: np.ndarray) -> tf.DType:
    try:
        return tf.as_dtype(x.dtype)
    except TypeError as error:
        raise OperandError(
            f"einsum {equation!r} requires a numeric dtype, got {x.dtype} for operand {k}"
        ) from error


def _convert(equation: str, k: int, x: Any, dtype: tf.DType | None) -> tf.Tensor:
    if isinstance(x, tf.Tensor):
        return x
    weak = isinstance(x, int | float | complex | list | tuple)
    if dtype is not None and isinstance(x, np.ndarray | np.generic):
        weak = np.can_cast(x.dtype, dtype.as_numpy_dtype, "same_kind")
    try:
        return tf.convert_to_tensor(x, dtype=dtype if weak else None)
    except (TypeError, ValueError) as error:
        wanted = f" of dtype {dtype.name}" if weak and dtype is not None else ""
        raise OperandError(
            f"einsum {equation!r} requires operands that convert to a tensor{wanted}, got "
            f"{type(x).__name__} for operand {k}: {error}"
        ) from error
