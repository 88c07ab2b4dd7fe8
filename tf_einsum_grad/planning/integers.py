"""Integers that floats hold: products of int8 that add up exactly in float32.

A product of two int8 is at most 2**14, and float32 holds every integer up to 2**24: so it does sums
of up to 1024 such products, in any order, also where operands are rounded to TF32 or bfloat16.
Matrix products of float32 are fast everywhere. Those of integers are not: on a CPU TensorFlow's of
int8 (BatchMatMulV3) takes as long as that of int32, 4 times as long as float32's.
"""

from __future__ import annotations

import math
from functools import lru_cache

from tf_einsum_grad.algebra.errors import EinsumError
from tf_einsum_grad.algebra.sizes import Shape, bind_call

__all__ = ["adds_up_in_float32"]

_LARGEST_SUM = 2**24 // 2**14


@lru_cache(maxsize=4096)
def adds_up_in_float32(text: str, shapes: tuple[Shape, ...]) -> bool:
    """Whether an einsum of two int8 operands is exact in float32, whatever they hold.

    False where the einsum is an error, for whoever says so.

    Example:
        >>> [adds_up_in_float32("ij,jk->ik", ((None, n), (n, 8))) for n in (1024, 1025)]
        [True, False]
    """
    try:
        binding = bind_call(text, shapes)
    except EinsumError:
        return False
    summed = [size for label, size in binding.sizes if label not in binding.equation.output]
    known = [size for size in summed if size is not None]
    return len(shapes) == 2 and known == summed and 0 < math.prod(known) <= _LARGEST_SUM
