"""Which dtype a contraction computes in."""

from __future__ import annotations

from typing import Any

__all__ = ["DTYPES", "compute_dtype", "dtype_name", "is_differentiable"]

_INEXACT = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")
_HALF = ("float16", "bfloat16")

# Integers compute in a type that TensorFlow has kernels for and that holds at least as many bits:
# sums and products modulo 2**32 or 2**64, cut to fewer bits, are those modulo fewer bits, so the
# results are NumPy's to the last bit. bool counts, and is true where the count is not zero.
_INTEGER_COMPUTE = {
    "bool": "int64",
    "int8": "int32",
    "uint8": "int32",
    "int16": "int32",
    "uint16": "int32",
    "uint32": "int64",
    "uint64": "int64",
}

DTYPES = (*_INEXACT, "int32", "int64", *_INTEGER_COMPUTE)


def dtype_name(dtype: Any) -> str:
    """The name of a dtype given as a name, or as TensorFlow's, NumPy's or Keras' object for it.

    Example:
        >>> import numpy as np
        >>> dtype_name(np.float32), dtype_name(np.dtype("int8")), dtype_name("bfloat16")
        ('float32', 'int8', 'bfloat16')
    """
    if isinstance(dtype, str):
        return dtype
    return str(getattr(dtype, "name", None) or getattr(dtype, "__name__", dtype))


def is_differentiable(dtype: str) -> bool:
    """Whether gradients with respect to tensors of this dtype exist."""
    return dtype in _INEXACT


def compute_dtype(dtype: str, sums_products: bool) -> str | None:
    """What operands are cast to before the kernels run, or None to compute in `dtype`.

    Args:
        dtype: of the operands.
        sums_products: whether a sum follows in a kernel that would accumulate in `dtype`.
    """
    if dtype in _INTEGER_COMPUTE:
        return _INTEGER_COMPUTE[dtype]
    return "float32" if dtype in _HALF and sums_products else None
