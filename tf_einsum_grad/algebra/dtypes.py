"""What is to be known of each dtype: its size, its precision, and what contractions compute in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

__all__ = [
    "DTYPES",
    "DTypeFacts",
    "SupportsDType",
    "compute_dtype",
    "dtype_name",
    "is_differentiable",
    "itemsize",
]


@dataclass(frozen=True, slots=True)
class DTypeFacts:
    """What is to be known of a dtype.

    Attributes:
        kind: what its numbers are.
        itemsize: bytes of one element.
        epsilon: the gap between 1 and the next number; 0 where numbers are exact.
        computes_in: the dtype of every kernel; itself, or one that it is cast to and back from.
        accumulates_in: the dtype of sums of products, where the kernel does not see to it.
    """

    kind: Literal["bool", "integer", "float", "complex"]
    itemsize: int
    epsilon: float
    computes_in: str
    accumulates_in: str


def _inexact(
    kind: Literal["float", "complex"], name: str, size: int, bits: int, sums_in: str = ""
) -> DTypeFacts:
    return DTypeFacts(kind, size, 2.0**-bits, name, sums_in or name)


def _exact(size: int, computes_in: str) -> DTypeFacts:
    return DTypeFacts("integer", size, 0.0, computes_in, computes_in)


# Integers compute in a type that TensorFlow has kernels for and that holds at least as many bits:
# sums and products modulo 2**32 or 2**64, cut to fewer bits, are those modulo fewer bits, so the
# results are NumPy's to the last bit. bool counts, and is true where the count is not zero.
DTYPES: dict[str, DTypeFacts] = {
    "float16": _inexact("float", "float16", 2, 10, sums_in="float32"),
    "bfloat16": _inexact("float", "bfloat16", 2, 7, sums_in="float32"),
    "float32": _inexact("float", "float32", 4, 23),
    "float64": _inexact("float", "float64", 8, 52),
    "complex64": _inexact("complex", "complex64", 8, 23),
    "complex128": _inexact("complex", "complex128", 16, 52),
    "int32": _exact(4, "int32"),
    "int64": _exact(8, "int64"),
    "bool": DTypeFacts("bool", 1, 0.0, "int64", "int64"),
    "int8": _exact(1, "int32"),
    "uint8": _exact(1, "int32"),
    "int16": _exact(2, "int32"),
    "uint16": _exact(2, "int32"),
    "uint32": _exact(4, "int64"),
    "uint64": _exact(8, "int64"),
}


class SupportsDType(Protocol):
    """TensorFlow's, NumPy's and Keras' objects for a dtype."""

    @property
    def name(self) -> str:
        """What the dtype is called: "float32"."""


def dtype_name(dtype: str | type | SupportsDType) -> str:
    """The name of a dtype given as a name, or as TensorFlow's, NumPy's or Keras' object for it.

    Example:
        >>> import numpy as np
        >>> dtype_name(np.float32), dtype_name(np.dtype("int8")), dtype_name("bfloat16")
        ('float32', 'int8', 'bfloat16')
    """
    if isinstance(dtype, str):
        return dtype
    return str(getattr(dtype, "name", None) or getattr(dtype, "__name__", dtype))


def itemsize(dtype: str) -> int:
    """Bytes of one element."""
    return DTYPES[dtype].itemsize


def is_differentiable(dtype: str) -> bool:
    """Whether gradients with respect to tensors of this dtype exist."""
    return DTYPES[dtype].kind in ("float", "complex")


def compute_dtype(dtype: str, sums_products: bool) -> str | None:
    """What operands are cast to before the kernels run, or None to compute in `dtype`.

    Args:
        dtype: of the operands.
        sums_products: whether a sum follows in a kernel that would accumulate in `dtype`.
    """
    facts = DTYPES[dtype]
    wanted = facts.accumulates_in if sums_products else facts.computes_in
    return None if wanted == dtype else wanted
